//! The lock file: what was released may not change its meaning.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::fs;

use support::Package;

const CHAT: &str = "syntax = 'proto3'; package chat;
import 'seaway/options.proto';
service Room {
  rpc Join(M) returns (Line);
}
message M {}
message Line { option (seaway.message_id) = 1001; }
";

const HEAD: &str = "\
# What these .proto files have released on the wire. Commit this file; a build fails when a message
# or a method is no longer what it was. `SEAWAY_LOCK=package cargo build`, with the name of the
# package, adds what is new. A line that begins with `retired` keeps the id of what is gone for good.
";

const LINES: &str = "message chat.Line = 1001
message chat.M = 0xf2c3d1031a933a96
method chat.Room/Join = 0xf3d2d52cf4ffb1e9 (chat.M) returns (chat.Line)
";

/// A package with a lock file that has what `CHAT` has.
fn locked() -> Package {
    let package = Package::of(CHAT);
    package.write("seaway.lock", &format!("{HEAD}{LINES}"));
    package.compile(&["a.proto"]).unwrap();
    package
}

/// What is wrong when `CHAT` has something else in the place of this.
#[track_caller]
fn problems_of(old: &str, new: &str) -> Vec<String> {
    let package = locked();
    change(&package, "a.proto", old, new);
    package.problems(&["a.proto"])
}

#[track_caller]
fn change(package: &Package, file: &str, old: &str, new: &str) {
    let text = package.read(package.proto(file));
    assert!(text.contains(old));
    package.write(file, &text.replace(old, new));
}

fn lock_of(package: &Package) -> String {
    package.read(package.proto("seaway.lock"))
}

#[test]
fn without_a_lock_file_nothing_is_written() {
    let package = Package::of(CHAT);
    package.compile(&["a.proto"]).unwrap();
    assert!(!package.proto("seaway.lock").exists());
}

#[test]
fn a_lock_file_is_made_when_asked_for() {
    let package = Package::of(CHAT);
    package.compile_with(package.config().write_lock(), &["a.proto"]).unwrap();
    assert_eq!(lock_of(&package), format!("{HEAD}{LINES}"));
    package.compile(&["a.proto"]).unwrap();
}

#[test]
fn what_is_new_is_written_only_when_asked_for() {
    let package = locked();
    change(&package, "a.proto", "message M {}", "message M {} message Added {}");
    package.compile(&["a.proto"]).unwrap();
    assert_eq!(lock_of(&package), format!("{HEAD}{LINES}"));
    package.compile_with(package.config().write_lock(), &["a.proto"]).unwrap();
    let id = seaway::MessageId::of("chat.Added");
    assert_eq!(lock_of(&package), format!("{HEAD}message chat.Added = {id}\n{LINES}"));
}

#[test]
fn comments_stay_where_they_are() {
    let package = locked();
    let commented = LINES.replace("message chat.M", "# Why.\nmessage chat.M");
    package.write("seaway.lock", &format!("# Mine.\n\n{commented}\n# The end.\n"));
    change(&package, "a.proto", "message M {}", "message M {} message Added {}");
    package.compile_with(package.config().write_lock(), &["a.proto"]).unwrap();
    let id = seaway::MessageId::of("chat.Added");
    let expected = format!("# Mine.\n\nmessage chat.Added = {id}\n{commented}\n# The end.\n");
    assert_eq!(lock_of(&package), expected);
}

#[test]
fn another_id_is_an_error() {
    let expected = "a.proto:7: message chat.Line was released as 1001 (seaway.lock:4) and is 1002 \
                    now: make it again what it was, and give what is new another name";
    assert_eq!(problems_of("1001", "1002"), [expected]);
}

#[test]
fn an_id_given_later_is_an_error() {
    let problems = problems_of("message M {}", "message M { option (seaway.message_id) = 5; }");
    let expected = "a.proto:6: message chat.M was released as 0xf2c3d1031a933a96 (seaway.lock:5) \
                    and is 5 now: ";
    assert!(problems[0].starts_with(expected), "{problems:?}");
}

#[test]
fn other_types_of_a_method_are_an_error() {
    let problems = problems_of("(M) returns (Line)", "(M) returns (M)");
    let expected = "a.proto:4: method chat.Room/Join was released as 0xf3d2d52cf4ffb1e9 (chat.M) \
                    returns (chat.Line) (seaway.lock:6) and is 0xf3d2d52cf4ffb1e9 (chat.M) returns \
                    (chat.M) now: make it again what it was, and give what is new another name";
    assert_eq!(problems, [expected]);
}

#[test]
fn a_method_renamed_is_an_error() {
    let expected = "seaway.lock:6: method chat.Room/Join, released as 0xf3d2d52cf4ffb1e9 (chat.M) \
                    returns (chat.Line), is in no file any more: give it its name back if it was \
                    renamed; if it is gone for good, begin this line with `retired`";
    assert_eq!(problems_of("Join", "Enter"), [expected]);
}

#[test]
fn a_message_renamed_is_an_error_that_names_who_has_its_id() {
    let package = locked();
    change(&package, "a.proto", "Line", "Row");
    let problems = package.problems(&["a.proto"]);
    let expected = "seaway.lock:4: message chat.Line, released as 1001, is in no file any more, \
                    1001 is chat.Row now (a.proto:7): give it its name back if it was renamed; if \
                    it is gone for good, begin this line with `retired`";
    assert!(problems.contains(&expected.to_owned()), "{problems:?}");
}

#[test]
fn what_is_retired_may_be_gone_and_keeps_its_id() {
    let package = locked();
    change(&package, "seaway.lock", "message chat.Line", "retired message chat.Line");
    change(&package, "seaway.lock", "method chat", "retired method chat");
    change(&package, "a.proto", "Join(M) returns (Line)", "Enter(M) returns (M)");
    change(&package, "a.proto", "Line", "Row");
    let expected = "a.proto:7: message chat.Row has the id 1001 of chat.Line, which is retired \
                    (seaway.lock:4): give it another";
    assert_eq!(package.problems(&["a.proto"]), [expected]);
    change(&package, "a.proto", "1001", "1002");
    package.compile_with(package.config().write_lock(), &["a.proto"]).unwrap();
    let lock = lock_of(&package);
    assert!(lock.contains("retired message chat.Line = 1001\n"), "{lock}");
    assert!(lock.contains("message chat.Row = 1002\n"), "{lock}");
}

#[test]
fn what_is_retired_may_not_come_back() {
    let package = locked();
    change(&package, "seaway.lock", "message chat.M", "retired message chat.M");
    let expected = "a.proto:6: message chat.M is retired (seaway.lock:5): give what is new another \
                    name";
    assert_eq!(package.problems(&["a.proto"]), [expected]);
}

#[test]
fn what_is_wrong_with_the_method_of_a_short_form_stands_at_its_request() {
    let short = "syntax = 'proto3';\n\nmessage response {}\nmessage request {}\n";
    let package = Package::new(&[("echo.proto", short)]);
    package.write("seaway.lock", "retired method echo.echo/call = 0x1\n");
    let expected = "echo.proto:4: method echo.echo/call is retired (seaway.lock:1): give what is \
                    new another name";
    assert_eq!(package.problems(&["echo.proto"]), [expected]);
}

#[test]
fn a_line_that_is_none_is_an_error() {
    for line in ["<<<<<<< HEAD", "message chat.Line", "enum chat.E = 1", "message chat.M = 7"] {
        let package = locked();
        package.write("seaway.lock", &format!("{HEAD}{LINES}{line}\n"));
        let expected = "seaway.lock:7: neither `message NAME = ID` nor `method NAME = HASH \
                        (REQUEST) returns (RESPONSE)`, or twice: take the file as it was committed \
                        last";
        assert_eq!(package.problems(&["a.proto"]), [expected], "{line}");
    }
}

#[test]
fn after_an_error_the_lock_file_is_as_it_was() {
    let package = locked();
    change(&package, "a.proto", "1001", "1002");
    change(&package, "a.proto", "message M {}", "message M {} message Added {}");
    package.problems_with(package.config().write_lock(), &["a.proto"]);
    assert_eq!(lock_of(&package), format!("{HEAD}{LINES}"));
}

#[test]
fn what_is_imported_is_not_locked_here() {
    let package = locked();
    package.write("b.proto", "syntax = 'proto3'; package b; import 'a.proto'; message B {}");
    fs::remove_file(package.proto("seaway.lock")).unwrap();
    package.compile_with(package.config().write_lock(), &["b.proto"]).unwrap();
    let id = seaway::MessageId::of("b.B");
    assert_eq!(lock_of(&package), format!("{HEAD}message b.B = {id}\n"));
}

#[test]
fn a_lock_file_can_lie_elsewhere() {
    let package = Package::of(CHAT);
    let path = package.proto("released.txt");
    let config = package.config().lock_file(&path).write_lock();
    package.compile_with(config, &["a.proto"]).unwrap();
    assert_eq!(package.read(&path), format!("{HEAD}{LINES}"));
    assert!(!package.proto("seaway.lock").exists());
}

#[test]
fn a_lock_file_beside_what_is_only_imported_is_not_asked() {
    let package = Package::new(&[
        ("shared/a.proto", CHAT),
        ("shared/seaway.lock", &LINES.replace("1001", "1002")),
        ("own/b.proto", "syntax = 'proto3'; package b; import 'a.proto'; message B {}"),
    ]);
    let config = || package.config().include(package.proto("shared"));
    package.compile_with(config().write_lock(), &["own/b.proto"]).unwrap();
    assert!(package.proto("own/seaway.lock").exists());
    let problems = package.problems_with(config(), &["shared/a.proto"]);
    assert!(problems[0].contains("(shared/seaway.lock:1)"), "{problems:?}");
}
