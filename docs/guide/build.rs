//! Generates the services that are spoken of: that of the template in the guide, and the README's.

fn main() -> std::io::Result<()> {
    seaway_codegen::compile(["../../examples/template/proto/chat.proto", "proto/game.proto"])
}
