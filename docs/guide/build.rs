//! Generates the service that the guide speaks of: that of the template.

fn main() -> std::io::Result<()> {
    seaway_codegen::compile(["../../examples/template/proto/chat.proto"])
}
