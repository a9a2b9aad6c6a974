//! Generates the stubs.

fn main() -> std::io::Result<()> {
    seaway_codegen::compile([
        "proto/arena.proto",
        "proto/chat.proto",
        "proto/difficult.proto",
        "proto/echo.proto",
        "proto/game.proto",
        "proto/hotel.proto",
        "proto/old.proto",
        "proto/post.proto",
        "proto/sum.proto",
        "proto/tour.proto",
    ])
}
