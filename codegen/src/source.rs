//! Opening .proto files: from the include folders, from this crate, from Google.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protox::Error;
use protox::file::{File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use protox::prost_reflect::prost_types::FileDescriptorProto;

use crate::names::is_identifier;

/// The file that brings the options of seaway, as it is imported.
pub(crate) const OPTIONS: &str = "seaway/options.proto";

/// What is known of a file from an include folder.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As it can be opened from where the build script runs.
    pub(crate) path: String,
    pub(crate) is_short: bool,
}

/// The files opened from include folders, by the names under which they are imported.
pub(crate) type Sources = Rc<RefCell<BTreeMap<String, Source>>>;

/// Opens files.
pub(crate) struct Resolver {
    folders: Vec<PathBuf>,
    opened: Sources,
}

impl Resolver {
    pub(crate) fn new(folders: &[PathBuf], opened: &Sources) -> Self {
        Self { folders: folders.to_vec(), opened: Rc::clone(opened) }
    }

    fn open(&self, folder: &Path, name: &str) -> Result<File, Error> {
        // Known before it is read, for what may be wrong with it.
        let path = folder.join(name).display().to_string();
        let known = |is_short| {
            let source = Source { path: path.clone(), is_short };
            self.opened.borrow_mut().insert(name.to_owned(), source);
        };
        known(false);
        let file = IncludeFileResolver::new(folder.to_owned()).open_file(name)?;
        let short = short_form(name, file.file_descriptor_proto());
        let (Some(rest), Some(source)) = (short, file.source()) else { return Ok(file) };
        known(true);
        File::from_source(name, &format!("{source}\n{rest}\n"))
    }
}

impl FileResolver for Resolver {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        let folders = self.folders.iter();
        let mut names = folders.map(|folder| IncludeFileResolver::new(folder.clone()));
        names.find_map(|folder| folder.resolve_path(path))
    }

    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == OPTIONS {
            return File::from_source(name, include_str!("../proto/seaway/options.proto"));
        }
        match self.folders.iter().find(|folder| folder.join(name).is_file()) {
            Some(folder) => self.open(folder, name),
            None => GoogleFileResolver::new().open_file(name),
        }
    }
}

/// What a file of the short form leaves unsaid. Put at its end, it moves no line.
fn short_form(name: &str, file: &FileDescriptorProto) -> Option<String> {
    let stem = stem(name);
    let has = |wanted| file.message_type.iter().any(|message| message.name() == wanted);
    let is_short = file.package.is_none() && file.service.is_empty();
    (is_short && is_identifier(stem) && has("request") && has("response")).then(|| {
        format!("package {stem}; service {stem} {{ rpc call(request) returns (response); }}")
    })
}

/// The name of a file without folder and extension.
pub(crate) fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.strip_suffix(".proto").unwrap_or(file)
}
