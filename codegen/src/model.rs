//! What the files define that has a name on the wire.

use std::collections::BTreeMap;

use protox::Compiler;
use protox::prost_reflect::{
    DescriptorPool, ExtensionDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor,
};

use crate::names;
use crate::problem::Place;
use crate::source::Source;

/// A file from an include folder.
pub(crate) struct File {
    pub(crate) descriptor: FileDescriptor,
    pub(crate) source: Source,
    /// Was imported, not given.
    pub(crate) is_import: bool,
}

impl File {
    /// Where something stands, by its path in the descriptor.
    pub(crate) fn place(&self, path: &[i32]) -> Place {
        let info = self.descriptor.file_descriptor_proto().source_code_info.as_ref();
        let found = info.and_then(|info| info.location.iter().find(|at| at.path == path));
        let line =
            found.and_then(|at| at.span.first()).and_then(|line| usize::try_from(*line).ok());
        Place { path: self.source.path.clone(), line: line.unwrap_or_default() + 1 }
    }

    /// Where a method stands; for the one of the short form, where its request does.
    pub(crate) fn place_of_method(&self, method: &MethodDescriptor) -> Place {
        let request = method.input();
        self.place(if self.source.is_short { request.path() } else { method.path() })
    }
}

/// A message, which may be sent on its own.
pub(crate) struct Message {
    /// `package.Message`.
    pub(crate) name: String,
    pub(crate) package: String,
    /// What the option says.
    pub(crate) given_id: Option<u64>,
    pub(crate) place: Place,
    pub(crate) is_import: bool,
}

impl Message {
    /// What stands for it on the wire.
    pub(crate) fn id(&self) -> u64 {
        self.given_id.unwrap_or_else(|| names::hash(&self.name))
    }
}

/// A method.
pub(crate) struct Method {
    /// `package.Service/Method`.
    pub(crate) name: String,
    pub(crate) request: String,
    pub(crate) response: String,
    pub(crate) place: Place,
    pub(crate) is_import: bool,
}

impl Method {
    /// What stands for it on the wire.
    pub(crate) fn id(&self) -> u64 {
        names::hash(&self.name)
    }
}

/// The files from include folders, imported ones before those that import them.
pub(crate) fn files(compiler: &Compiler, sources: &BTreeMap<String, Source>) -> Vec<File> {
    let pool = compiler.descriptor_pool();
    let found = compiler.files().filter_map(|file| {
        let source = sources.get(file.name())?.clone();
        let descriptor = pool.get_file_by_name(file.name())?;
        Some(File { descriptor, source, is_import: file.is_import() })
    });
    found.collect()
}

/// All messages, nested ones too; not the entries of maps, which nobody sees.
pub(crate) fn messages(pool: &DescriptorPool, files: &[File]) -> Vec<Message> {
    let option = pool.get_extension_by_name("seaway.message_id");
    let mut found = Vec::new();
    for file in files {
        let mut waiting: Vec<_> = file.descriptor.messages().collect();
        waiting.reverse();
        while let Some(message) = waiting.pop() {
            if !message.is_map_entry() {
                let nested: Vec<_> = message.child_messages().collect();
                waiting.extend(nested.into_iter().rev());
                found.push(Message {
                    name: message.full_name().to_owned(),
                    package: message.package_name().to_owned(),
                    given_id: option.as_ref().and_then(|option| given_id(&message, option)),
                    place: file.place(message.path()),
                    is_import: file.is_import,
                });
            }
        }
    }
    found
}

fn given_id(message: &MessageDescriptor, option: &ExtensionDescriptor) -> Option<u64> {
    let options = message.options();
    options.has_extension(option).then(|| options.get_extension(option).as_u64())?
}

/// All methods.
pub(crate) fn methods(files: &[File]) -> Vec<Method> {
    let mut found = Vec::new();
    for file in files {
        for method in file.descriptor.services().flat_map(|service| methods_of(&service)) {
            found.push(Method {
                name: name_of_method(&method),
                request: method.input().full_name().to_owned(),
                response: method.output().full_name().to_owned(),
                place: file.place_of_method(&method),
                is_import: file.is_import,
            });
        }
    }
    found
}

/// The methods of a service, not borrowed from it.
pub(crate) fn methods_of(
    service: &protox::prost_reflect::ServiceDescriptor,
) -> Vec<MethodDescriptor> {
    service.methods().collect()
}

/// `package.Service/Method`.
pub(crate) fn name_of_method(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}
