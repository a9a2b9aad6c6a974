//! Generates the service from its `.proto` file.

fn main() -> std::io::Result<()> {
    seaway_codegen::compile(["proto/chat.proto"])
}
