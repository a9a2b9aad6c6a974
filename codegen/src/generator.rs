//! What is added to the types of prost: the names of messages, and services.

use std::collections::{BTreeMap, BTreeSet};

use prost_build::{Comments, Method, Service, ServiceGenerator};
use protox::prost_reflect::prost_types::{
    FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto,
};
use syn::{Attribute, Item, parse_quote};

use crate::model::Message;
use crate::names::module;

/// The service that is none: its methods take each message of a package, so that prost says how
/// each is called in Rust. No service of a file can have this name.
const MESSAGES: &str = "all messages";

/// Called by prost for each service, and at the end of each package.
pub(crate) struct Generator {
    /// Services of the short form, by their full names.
    pub(crate) short: BTreeSet<String>,
    /// The ids given to messages.
    pub(crate) ids: BTreeMap<String, u64>,
}

/// A file for each package, which makes prost name its messages.
pub(crate) fn files_of_messages(messages: &[Message]) -> Vec<FileDescriptorProto> {
    let mut packages: BTreeMap<&str, Vec<MethodDescriptorProto>> = BTreeMap::new();
    for message in messages {
        packages.entry(&message.package).or_default().push(MethodDescriptorProto {
            name: Some(message.name.clone()),
            input_type: Some(format!(".{}", message.name)),
            output_type: Some(format!(".{}", message.name)),
            ..Default::default()
        });
    }
    let file = |(package, method): (&str, Vec<MethodDescriptorProto>)| FileDescriptorProto {
        name: Some(MESSAGES.to_owned()),
        package: Some(package.to_owned()),
        service: vec![ServiceDescriptorProto {
            name: Some(MESSAGES.to_owned()),
            method,
            ..Default::default()
        }],
        ..Default::default()
    };
    packages.into_iter().map(file).collect()
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        let full_name = format!("{}.{}", service.package, service.proto_name);
        *buf += &if service.proto_name == MESSAGES {
            self.messages(&service)
        } else if self.short.contains(&full_name) {
            items(&service, &full_name, "")
        } else {
            let docs = docs(&service.comments, &format!("The service `{full_name}`."));
            let items = items(&service, &full_name, "super::");
            format!("{docs}pub mod {} {{\n{items}}}\n", module(&service.proto_name))
        };
    }

    fn finalize_package(&mut self, _package: &str, buf: &mut String) {
        // What does not parse, prost tells.
        if let Ok(mut file) = syn::parse_file(buf) {
            file.items.iter_mut().for_each(allow_lints);
            *buf = prettyplease::unparse(&file);
        }
    }
}

impl Generator {
    /// Says what messages are called on the wire. `all` has a method for each.
    fn messages(&self, all: &Service) -> String {
        // One with an extern path is generated elsewhere, and says so itself there.
        let is_own = |it: &&Method| is_own(&it.input_type, &it.input_proto_type, &all.package);
        let message = |it: &Method| {
            let (path, name) = (&it.input_type, &it.proto_name);
            let id = self.ids.get(name).map(|id| {
                let id = format!("::seaway::rt::MessageId::new({id})");
                format!("const ID: ::seaway::rt::MessageId = {id};\n")
            });
            format!(
                "impl ::seaway::rt::Message for {path} {{
                    const NAME: &'static str = {name:?};
                    {}
                }}\n",
                id.unwrap_or_default()
            )
        };
        let own: String = all.methods.iter().filter(is_own).map(message).collect();
        // One item around them, for `allow_lints`; prost expects something of each package.
        if own.is_empty() { "\n".to_owned() } else { format!("const _: () = {{\n{own}}};\n") }
    }
}

/// The items of a service; `above` leads to the types of its package.
fn items(service: &Service, full_name: &str, above: &str) -> String {
    let constants =
        service.methods.iter().map(|method| constant(method, service, full_name, above));
    let functions =
        service.methods.iter().map(|method| function(method, service, full_name, above));
    let (constants, functions): (String, String) = (constants.collect(), functions.collect());
    let (service, server) = (service_trait(service, full_name, above), server(service, full_name));
    constants + &service + &server + &functions
}

fn constant(method: &Method, service: &Service, full_name: &str, above: &str) -> String {
    let (request, response) = types(method, service, above);
    let name = format!("{full_name}/{}", method.proto_name);
    format!(
        "/// The method `{name}`.
        pub const {constant}: ::seaway::rt::Method<{request}, {response}> =
            ::seaway::rt::Method::new({name:?});\n",
        constant = method.name.to_uppercase(),
    )
}

fn service_trait(service: &Service, full_name: &str, above: &str) -> String {
    let mut text = format!(
        "/// What `{full_name}` does, to be served by a [`Server`]. Each function can be written as
        /// an `async fn`.
        pub trait Service: ::seaway::rt::Send + ::seaway::rt::Sync + 'static {{\n"
    );
    for method in &service.methods {
        let (request, response) = types(method, service, above);
        text += &docs(&method.comments, &format!("Answers `{full_name}/{}`.", method.proto_name));
        text += &format!(
            "fn {name}(&self, cx: &::seaway::rt::Context, request: {request})
                -> impl ::seaway::rt::Future<
                    Output = ::seaway::rt::Result<{response}, ::seaway::rt::Status>,
                > + ::seaway::rt::Send;\n",
            name = method.name,
        );
    }
    text + "}\n"
}

fn server(service: &Service, full_name: &str) -> String {
    let mut text = format!(
        "/// Serves `{full_name}`, once given to the builder of a node with `serve`.
        pub struct Server<S>(::seaway::rt::Arc<S>);
        impl<S: Service> Server<S> {{
            /// Serves it with this.
            #[must_use]
            pub fn new(service: S) -> Self {{ Self(::seaway::rt::Arc::new(service)) }}
        }}
        impl<S: Service> ::seaway::rt::From<::seaway::rt::Arc<S>> for Server<S> {{
            fn from(service: ::seaway::rt::Arc<S>) -> Self {{ Self(service) }}
        }}
        impl<S> ::seaway::rt::fmt::Debug for Server<S> {{
            fn fmt(&self, f: &mut ::seaway::rt::fmt::Formatter<'_>) -> ::seaway::rt::fmt::Result {{
                f.write_str({debug:?})
            }}
        }}
        impl<S: Service> ::seaway::rt::Serve for Server<S> {{
            fn register(self, builder: ::seaway::rt::Builder) -> ::seaway::rt::Builder {{\n",
        debug = format!("Server({full_name})"),
    );
    for method in &service.methods {
        text += &format!(
            "let service = ::seaway::rt::Arc::clone(&self.0);
            let builder = builder.on_call({constant}, move |cx, request| {{
                let service = ::seaway::rt::Arc::clone(&service);
                async move {{ Service::{name}(&*service, &cx, request).await }}
            }});\n",
            constant = method.name.to_uppercase(),
            name = method.name,
        );
    }
    text + "builder }}\n"
}

fn function(method: &Method, service: &Service, full_name: &str, above: &str) -> String {
    let (request, response) = types(method, service, above);
    let mut text = docs(&method.comments, &format!("Calls `{full_name}/{}`.", method.proto_name));
    if method.options.deprecated() {
        text += "#[deprecated]\n";
    }
    text + &format!(
        "pub fn {name}<'n>(
            node: &'n ::seaway::rt::Node,
            to: impl ::seaway::rt::Into<::seaway::rt::Target>,
            request: {request},
        ) -> ::seaway::rt::Request<'n, {request}, {response}> {{
            node.call(to, {constant}, request)
        }}\n",
        name = method.name,
        constant = method.name.to_uppercase(),
    )
}

/// The types of a method, seen from its service.
fn types(method: &Method, service: &Service, above: &str) -> (String, String) {
    let from_service = |path: &String, proto: &str| {
        let above = if is_own(path, proto, &service.package) { above } else { "" };
        format!("{above}{path}")
    };
    let request = from_service(&method.input_type, &method.input_proto_type);
    (request, from_service(&method.output_type, &method.output_proto_type))
}

/// Whether a type stands where prost puts those that it generates, and not behind an extern path.
/// `proto` is its full name, `path` leads to it from the module of `package`.
fn is_own(path: &str, proto: &str, package: &str) -> bool {
    let mut to: Vec<_> = proto.trim_start_matches('.').split('.').collect();
    to.pop();
    let from: Vec<_> = package.split('.').collect();
    let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let up = from.iter().skip(common).map(|_| "super".to_owned());
    let modules: Vec<_> = up.chain(to.iter().skip(common).map(|name| module(name))).collect();
    path.rsplit_once("::").map_or("", |(modules, _)| modules) == modules.join("::")
}

/// The comments of the file, or else this.
fn docs(comments: &Comments, otherwise: &str) -> String {
    let mut text = String::new();
    // What stands apart from an item is not about it.
    let comments = Comments { leading_detached: Vec::new(), ..comments.clone() };
    comments.append_with_indent(0, &mut text);
    if text.is_empty() { format!("/// {otherwise}\n") } else { text }
}

/// Generated code is written for the compiler, and need not please whoever lints the package that
/// takes it in.
fn allow_lints(item: &mut Item) {
    let allow: Attribute = parse_quote! {
        #[allow(
            dead_code,
            deprecated,
            missing_debug_implementations,
            missing_docs,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::nursery,
            clippy::pedantic,
            clippy::restriction,
            rustdoc::all,
            reason = "generated"
        )]
    };
    let attributes = match item {
        Item::Const(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        Item::Fn(item) => &mut item.attrs,
        Item::Impl(item) => &mut item.attrs,
        Item::Mod(item) => &mut item.attrs,
        Item::Struct(item) => &mut item.attrs,
        Item::Trait(item) => &mut item.attrs,
        _ => return,
    };
    let docs = attributes.iter().take_while(|attribute| attribute.path().is_ident("doc")).count();
    attributes.insert(docs, allow);
}
