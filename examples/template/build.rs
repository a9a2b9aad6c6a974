fn main() -> std::io::Result<()> {
    seaway_codegen::compile(["proto/chat.proto"])
}
