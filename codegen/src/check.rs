//! What prost does not refuse, and seaway must: names that clash, in Rust or on the wire.

use std::collections::BTreeMap;

use protox::prost_reflect::{MessageDescriptor, ServiceDescriptor};

use crate::model::{File, Message, Method, methods_of, name_of_method};
use crate::names::{function, module, type_name};
use crate::problem::{Place, Problems};
use crate::source::{OPTIONS, stem};

/// Looks at everything.
pub(crate) fn check(files: &[File], messages: &[Message], methods: &[Method]) -> Problems {
    let mut problems = Problems::default();
    for file in files {
        has_package(file, &mut problems);
        for service in file.descriptor.services() {
            functions_differ(file, &service, &mut problems);
        }
    }
    modules_differ(files, &mut problems);
    short_forms_have_room(files, &mut problems);
    ids_differ(messages, &mut problems);
    hashes_differ(methods, &mut problems);
    problems
}

fn has_package(file: &File, problems: &mut Problems) {
    let descriptor = &file.descriptor;
    let is_empty = descriptor.messages().len() + descriptor.enums().len() == 0;
    if !descriptor.package_name().is_empty() || (is_empty && descriptor.services().len() == 0) {
        return;
    }
    let has = |wanted| descriptor.messages().any(|message| message.name() == wanted);
    let is_short = has("request") && has("response") && descriptor.services().len() == 0;
    let text = if is_short {
        let stem = stem(descriptor.name());
        format!(
            "the package of a file with `request` and `response` is the file's name, and `{stem}` \
             is no name of protobuf: rename the file, with letters, digits and `_` only"
        )
    } else {
        "the file has no package: give it one, `package chat;`. Only a file with messages \
         `request` and `response`, and no service, needs none: it is named after the file"
            .to_owned()
    };
    problems.add(&file.place(&[]).first_line(), text);
}

fn functions_differ(file: &File, service: &ServiceDescriptor, problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for method in methods_of(service) {
        let (name, place) = (name_of_method(&method), file.place_of_method(&method));
        if method.is_client_streaming() || method.is_server_streaming() {
            problems.add(
                &place,
                format!(
                    "{name} has a stream, and streaming methods do not exist in seaway: take a \
                     request and a response without `stream`, or send messages"
                ),
            );
        }
        let Some(function) = function(method.name()) else {
            let is = if module(method.name()).is_empty() { "no name in" } else { "a word of" };
            problems.add(&place, format!("{name}: its function would be {is} Rust: rename it"));
            continue;
        };
        if let Some(first) = seen.insert(function.clone(), name.clone()) {
            let text = format!("{first} and {name} are both `{function}` in Rust: rename one");
            problems.add(&place, text);
        }
    }
}

/// A service has a module beside those of the messages that have something nested in them, of
/// other services and of packages below.
fn modules_differ(files: &[File], problems: &mut Problems) {
    let mut modules: BTreeMap<(String, String), String> = BTreeMap::new();
    for file in files {
        let package = file.descriptor.package_name();
        for (at, _) in package.match_indices('.') {
            let (above, below) = package.split_at(at);
            let name = below.split('.').nth(1).unwrap_or_default();
            modules.insert((above.to_owned(), module(name)), format!("package {package}"));
        }
        for message in file.descriptor.messages().filter(has_module) {
            let key = (package.to_owned(), module(message.name()));
            modules.insert(key, format!("what is nested in message {}", message.full_name()));
        }
    }
    for file in files.iter().filter(|file| !file.source.is_short) {
        for service in file.descriptor.services() {
            let (name, own) = (service.full_name().to_owned(), module(service.name()));
            let key = (file.descriptor.package_name().to_owned(), own.clone());
            if let Some(first) = modules.insert(key, format!("service {name}")) {
                let text = format!(
                    "{first} and service {name} have the same module in Rust, `{own}`: rename one"
                );
                problems.add(&file.place(service.path()), text);
            }
        }
    }
}

fn has_module(message: &MessageDescriptor) -> bool {
    let has_oneof = message.oneofs().any(|oneof| !oneof.is_synthetic());
    let has_message = message.child_messages().any(|nested| !nested.is_map_entry());
    has_oneof || has_message || message.child_enums().len() > 0
}

/// The service of the short form has no module, so its types stand beside the messages.
fn short_forms_have_room(files: &[File], problems: &mut Problems) {
    let short = files.iter().filter(|file| file.source.is_short);
    let packages: Vec<_> = short.map(|file| file.descriptor.package_name()).collect();
    for file in files.iter().filter(|file| packages.contains(&file.descriptor.package_name())) {
        let messages = file.descriptor.messages();
        let messages = messages.map(|it| (it.full_name().to_owned(), it.path().to_vec()));
        let enums = file.descriptor.enums();
        let enums = enums.map(|it| (it.full_name().to_owned(), it.path().to_vec()));
        for (name, path) in messages.chain(enums) {
            let last = type_name(name.rsplit('.').next().unwrap_or(&name));
            if ["Service", "Server"].contains(&last.as_str()) {
                let text = format!(
                    "{name} is `{last}` in Rust, as is a part of the service that `request` and \
                     `response` make: rename it, or write the service out"
                );
                problems.add(&file.place(&path), text);
            }
        }
    }
}

fn ids_differ(messages: &[Message], problems: &mut Problems) {
    let mut seen: BTreeMap<u64, &Message> = BTreeMap::new();
    for message in messages {
        let Some(first) = seen.insert(message.id(), message) else { continue };
        let text = format!(
            "messages {} ({}) and {} have the same id, {}: give one of them another with \
             `option (seaway.message_id) = …;` and `import \"{OPTIONS}\";`",
            first.name,
            first.place,
            message.name,
            message.id()
        );
        problems.add(&message.place, text);
    }
}

fn hashes_differ(methods: &[Method], problems: &mut Problems) {
    let mut seen: BTreeMap<u64, &Method> = BTreeMap::new();
    for method in methods {
        let Some(first) = seen.insert(method.id(), method) else { continue };
        let text = format!(
            "methods {} ({}) and {} have the same hash, {:#018x}: rename one",
            first.name,
            first.place,
            method.name,
            method.id()
        );
        problems.add(&method.place, text);
    }
}

impl Place {
    fn first_line(mut self) -> Self {
        self.line = 1;
        self
    }
}
