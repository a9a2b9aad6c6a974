//! What makes a build fail: the text, the file and the line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use support::Package;

/// The problems of one file, `a.proto`.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    Package::of(text).problems(&["a.proto"])
}

#[test]
fn a_method_with_a_stream_is_an_error() {
    let text = r#"syntax = "proto3";
package chat;
service Room {
  rpc Join(M) returns (M);
  rpc Listen(M) returns (stream M);
  rpc Talk(stream M) returns (M);
}
message M {}
"#;
    let expected = |line, name| {
        format!(
            "a.proto:{line}: chat.Room/{name} has a stream, and streaming methods do not exist in \
             seaway: take a request and a response without `stream`, or send messages"
        )
    };
    assert_eq!(problems(text), [expected(5, "Listen"), expected(6, "Talk")]);
}

#[test]
fn two_messages_with_one_id_are_an_error() {
    let text = r#"syntax = "proto3";
package chat;
import "seaway/options.proto";
message One { option (seaway.message_id) = 7; }
message Two {
  message Three { option (seaway.message_id) = 7; }
}
"#;
    let expected = "a.proto:6: messages chat.One (a.proto:4) and chat.Two.Three have the same id, 7: \
                    give one of them another with `option (seaway.message_id) = …;` and `import \
                    \"seaway/options.proto\";`";
    assert_eq!(problems(text), [expected]);
}

#[test]
fn an_id_that_is_the_hash_of_another_message_is_an_error() {
    let hash = seaway::MessageId::of("chat.One").get();
    let text = format!(
        "syntax = 'proto3'; package chat;
        import 'seaway/options.proto';
        message One {{}}
        message Two {{ option (seaway.message_id) = {hash}; }}"
    );
    let problems = problems(&text);
    let expected =
        format!("a.proto:4: messages chat.One (a.proto:3) and chat.Two have the same id, {hash}: ");
    assert!(problems[0].starts_with(&expected), "{problems:?}");
}

#[test]
fn messages_of_different_files_with_one_id_are_an_error() {
    let file = |package: &str| {
        format!(
            "syntax = 'proto3'; package {package};
            import 'seaway/options.proto';
            message M {{ option (seaway.message_id) = 7; }}"
        )
    };
    let package = Package::new(&[("a.proto", &file("a")), ("b.proto", &file("b"))]);
    let problems = package.problems(&["b.proto", "a.proto"]);
    let expected = "b.proto:3: messages a.M (a.proto:3) and b.M have the same id, 7: ";
    assert!(problems[0].starts_with(expected), "{problems:?}");
}

#[test]
fn two_methods_with_one_hash_are_an_error() {
    // Found by a search that took minutes.
    let text = r#"syntax = "proto3";
package t;
message M {}
service S {
  rpc db5okb2q6rwmq(M) returns (M);
  rpc bpyd4zq4biv2b(M) returns (M);
}
"#;
    let expected = "a.proto:6: methods t.S/db5okb2q6rwmq (a.proto:5) and t.S/bpyd4zq4biv2b have the \
                    same hash, 0x541ff8b30321828e: rename one";
    assert_eq!(problems(text), [expected]);
}

#[test]
fn a_service_beside_what_is_nested_in_a_message_of_its_name_is_an_error() {
    for nested in ["message Seat {}", "enum Kind { NONE = 0; }", "oneof either { string a = 1; }"] {
        let text = format!(
            "syntax = 'proto3'; package chat;
            message room {{ {nested} }}
            service Room {{}}"
        );
        let expected = "a.proto:3: what is nested in message chat.room and service chat.Room have \
                        the same module in Rust, `room`: rename one";
        assert_eq!(problems(&text), [expected], "{nested}");
    }
}

#[test]
fn a_service_beside_a_message_without_a_module_is_none() {
    let text = "syntax = 'proto3'; package chat;
        message Room { optional string name = 1; map<string, string> map = 2; }
        service Room_ {}";
    Package::of(text).compile(&["a.proto"]).unwrap();
}

#[test]
fn two_services_with_one_module_are_an_error() {
    let text = "syntax = 'proto3'; package chat;
        service ChatRoom {}
        service Chat_room {}";
    let expected = "a.proto:3: service chat.ChatRoom and service chat.Chat_room have the same \
                    module in Rust, `chat_room`: rename one";
    assert_eq!(problems(text), [expected]);
}

#[test]
fn a_service_with_the_module_of_a_package_is_an_error() {
    let package = Package::new(&[
        ("a.proto", "syntax = 'proto3'; package chat;\nservice Room {}"),
        ("b.proto", "syntax = 'proto3'; package chat.room; message M {}"),
        ("c.proto", "syntax = 'proto3'; package chat.room.deep; message M {}"),
        ("d.proto", "syntax = 'proto3'; package deep.chat.room;\nservice Seat {}"),
        ("e.proto", "syntax = 'proto3'; package deep.chat.room.seat.leg; message M {}"),
    ]);
    let problems = package.problems(&["d.proto", "e.proto"]);
    assert!(problems[0].starts_with("d.proto:2: package deep.chat.room.seat.leg and service "));
    for (file, below) in [("b.proto", "chat.room"), ("c.proto", "chat.room.deep")] {
        let expected = format!(
            "a.proto:2: package {below} and service chat.Room have the same module in Rust, \
             `room`: rename one"
        );
        assert_eq!(package.problems(&["a.proto", file]), [expected]);
    }
}

#[test]
fn a_method_that_is_a_word_of_rust_is_an_error() {
    for (method, what) in [("Move", "a word of"), ("SELF", "a word of"), ("_", "no name in")] {
        let text = format!(
            "syntax = 'proto3'; package chat; message M {{}}
            service Room {{
              rpc {method}(M) returns (M);
            }}"
        );
        let expected =
            format!("a.proto:3: chat.Room/{method}: its function would be {what} Rust: rename it");
        assert_eq!(problems(&text), [expected]);
    }
}

#[test]
fn two_methods_with_one_function_are_an_error() {
    let text = "syntax = 'proto3'; package chat; message M {}
        service Room {
          rpc SitDown(M) returns (M);
          rpc sit_down(M) returns (M);
        }";
    let expected = "a.proto:4: chat.Room/SitDown and chat.Room/sit_down are both `sit_down` in \
                    Rust: rename one";
    assert_eq!(problems(text), [expected]);
}

#[test]
fn a_file_without_a_package_is_an_error() {
    let expected = "a.proto:1: the file has no package: give it one, `package chat;`. Only a file \
                    with messages `request` and `response`, and no service, needs none: it is \
                    named after the file";
    for text in [
        "syntax = 'proto3';\nmessage M {}",
        "syntax = 'proto3';\nmessage request {}",
        "syntax = 'proto3';\nmessage request {} message response {} service S {}",
        "syntax = 'proto3';\nservice S {}",
        "syntax = 'proto3';\nenum E { NONE = 0; }",
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn a_short_form_whose_file_has_no_name_of_protobuf_is_an_error() {
    let text = "syntax = 'proto3'; message request {} message response {}";
    for (file, stem) in [("echo-2.proto", "echo-2"), ("2echo.proto", "2echo"), ("é.proto", "é")] {
        let package = Package::new(&[(file, text)]);
        let expected = format!(
            "{file}:1: the package of a file with `request` and `response` is the file's name, and \
             `{stem}` is no name of protobuf: rename the file, with letters, digits and `_` only"
        );
        assert_eq!(package.problems(&[file]), [expected]);
    }
}

#[test]
fn a_short_form_with_a_type_named_like_a_part_of_its_service_is_an_error() {
    let text = "syntax = 'proto3'; message request {} message response {}
        message service {}
        enum Server { NONE = 0; }";
    let expected = |line, name, in_rust| {
        format!(
            "a.proto:{line}: {name} is `{in_rust}` in Rust, as is a part of the service that \
             `request` and `response` make: rename it, or write the service out"
        )
    };
    let expected = [expected(2, "a.service", "Service"), expected(3, "a.Server", "Server")];
    assert_eq!(problems(text), expected);
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_their_lines() {
    let text = "syntax = 'proto3'; package chat; message M {}
        service Room {
          rpc Move(stream M) returns (M);
          rpc Loop(M) returns (M);
        }
        service room {}";
    let problems = problems(text);
    let lines: Vec<_> = problems.iter().map(|problem| &problem[..10]).collect();
    assert_eq!(lines, ["a.proto:3:", "a.proto:3:", "a.proto:4:", "a.proto:6:"]);
}

#[test]
fn what_protobuf_forbids_is_told_with_file_line_and_column() {
    for (text, expected) in [
        ("syntax = 'proto3'; package a;\nmessage M { string 1 text; }", "a.proto:2:20: "),
        ("syntax = 'proto3'; package a;\n\nmessage M { Other o = 1; }", "a.proto:3:13: "),
        (
            "syntax = 'proto3'; message request { Other o = 1; }\nmessage response {}",
            "a.proto:1:38: ",
        ),
        ("syntax = 'proto3';\nimport 'b.proto';", "a.proto:2:1: "),
        (
            "syntax = 'proto3';\nimport 'seaway/options.proto'; package a;\n\
          message M { option (seaway.message_ids) = 1; }",
            "a.proto:3:",
        ),
    ] {
        let package = Package::of(text);
        let problem = package.compile(&["a.proto"]).unwrap_err().to_string();
        // With the path that can be opened, not the name under which it would be imported.
        let expected = package.proto(expected).display().to_string();
        assert!(problem.starts_with(&expected), "{problem}");
    }
}

#[test]
fn a_file_that_does_not_exist_is_an_error_that_names_it() {
    let problems = Package::new(&[]).problems(&["gone.proto"]);
    assert!(problems[0].starts_with("gone.proto: No such file"), "{problems:?}");
}

#[test]
fn after_an_error_nothing_was_written() {
    let package =
        Package::of("syntax = 'proto3'; package a; message M {} service in {} service In {}");
    package.problems(&["a.proto"]);
    assert_eq!(package.generated(), Vec::<String>::new());
}

#[test]
fn an_error_that_main_returns_keeps_its_lines() {
    let package = Package::of("syntax = 'proto3'; message M {}");
    let error = package.compile(&["a.proto"]).unwrap_err();
    let line = format!("\n{error}\n");
    assert!(format!("{error:?}").contains(&line), "{error:?}");
}
