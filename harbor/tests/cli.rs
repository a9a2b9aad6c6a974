//! The binary, as a person or a supervisor uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod support;

use seaway::{CallError, ClusterKey, LogicalAddr, Method, Reason};
use support::{Folder, Place, Process, engine, is_available, is_known, node, server, soon, until};

const ME: &str = "1.255.1";
const ECHO: Method<String, String> = Method::new("test.Echo/Echo");
const SECRET: &str = "correct horse battery staple, and more";

#[tokio::test]
async fn a_call_goes_from_group_to_group_over_the_harbors_of_both() {
    let (one, two, common) = (server().await, server().await, server().await);
    let mut harbors = Vec::new();
    for (group, address) in [(&one, "1.255.1"), (&two, "2.255.1")] {
        let place = Place::reserve(address);
        group.members().put(place.member()).unwrap();
        common.members().put(place.member()).unwrap();
        let (at, all) = (group.local_addr().to_string(), common.local_addr().to_string());
        let args = ["--address", address, "--discovery-mock", &at, "--harbors-mock", &all];
        let mut harbor = Process::run(&args);
        harbor.line().await;
        harbors.push((harbor, place));
    }
    let echo = |_, text: String| async move { Ok(text) };
    let near = node(&one, "1.1.1").start().await.unwrap();
    let _far = node(&two, "2.1.1").on_call(ECHO, echo).start().await.unwrap();
    let to: LogicalAddr = "2.1.1".parse().unwrap();
    let reply = soon("a reply", near.call(to, ECHO, "hello".to_owned())).await.unwrap();
    assert_eq!(reply, "hello");
    for (mut harbor, _) in harbors {
        harbor.signal("TERM");
        harbor.says(" relayed: 2,").await;
        assert_eq!(harbor.code().await, Some(0));
    }
}

#[tokio::test]
async fn p16_both_signals_drain_a_harbor_which_leaves_both_discoveries_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let (group, harbors, place) = (server().await, server().await, Place::reserve(ME));
        group.members().put(place.member()).unwrap();
        harbors.members().put(place.member()).unwrap();
        let folder = Folder::new();
        let file = folder.config(&format!(
            "address = \"{ME}\"\n[discovery]\n{}[harbors]\n{}",
            engine(&group),
            engine(&harbors)
        ));
        let mut harbor = Process::run(&["--config", &file]);
        assert_eq!(harbor.line().await, format!("{ME} listens at {}", place.network()));
        for server in [&group, &harbors] {
            until("the announcement", || is_available(server, ME)).await;
        }

        harbor.signal(signal);
        harbor.says("drained, nothing is left").await;
        assert_eq!(harbor.code().await, Some(0), "{signal}");
        for server in [&group, &harbors] {
            assert!(is_known(server, ME) && !is_available(server, ME), "{signal}");
        }
    }
}

#[tokio::test]
async fn p16_a_second_signal_ends_a_harbor_that_drains_at_once() {
    let (group, place) = (server().await, Place::reserve(ME));
    group.members().put(place.member()).unwrap();
    // To drain takes until discovery has heard of it, or 1 s.
    let gate = support::Gate::to(&group).await;
    let at = gate.address();
    let mut harbor = Process::run(&["--address", ME, "--discovery-mock", &at]);
    harbor.line().await;
    gate.close();
    harbor.signal("TERM");
    harbor.says("draining").await;
    harbor.signal("TERM");
    harbor.says("error: ended by a second signal").await;
    assert_eq!(harbor.code().await, Some(1));
}

#[tokio::test]
async fn p17_a_harbor_that_is_not_in_discovery_does_not_start_and_says_in_which() {
    let (group, harbors, place) = (server().await, server().await, Place::reserve(ME));
    let (at, common) = (group.local_addr().to_string(), harbors.local_addr().to_string());
    let args = ["--address", ME, "--discovery-mock", &at, "--harbors-mock", &common];
    harbors.members().put(place.member()).unwrap();
    let said = support::complaint(&args).await;
    let wanted = "error: 1.255.1 is not in discovery: add it there before the node starts\n";
    assert_eq!(said, wanted);

    group.members().put(place.member()).unwrap();
    harbors.members().remove(ME.parse().unwrap());
    let said = support::complaint(&args).await;
    assert!(said.starts_with("error: the harbors' discovery: 1.255.1 is not in disc"), "{said}");
}

#[tokio::test]
async fn p17_a_harbor_that_discovery_no_longer_has_ends_and_says_so() {
    let (group, place) = (server().await, Place::reserve(ME));
    group.members().put(place.member()).unwrap();
    let at = group.local_addr().to_string();
    let mut harbor = Process::run(&["--address", ME, "--discovery-mock", &at]);
    harbor.line().await;
    until("the announcement", || is_available(&group, ME)).await;
    group.members().remove(ME.parse().unwrap());
    harbor.says("error: 1.255.1 has stopped: it was removed from discovery").await;
    assert_eq!(harbor.code().await, Some(1));
}

#[tokio::test]
async fn a_discovery_that_is_away_is_named_and_nothing_is_started() {
    let said = support::complaint(&["--address", ME, "--discovery-mock", "127.0.0.1:1"]).await;
    assert!(said.contains("127.0.0.1:1") && said.contains("start"), "{said}");
    let said = support::complaint(&["--address", ME, "--discovery-file", "nowhere.toml"]).await;
    assert!(said.contains("members file nowhere.toml: No such file"), "{said}");
}

#[tokio::test]
async fn p20_the_text_in_a_secret_file_is_the_secret_and_is_never_printed() {
    let (group, place) = (server().await, Place::reserve(ME));
    group.members().put(place.member()).unwrap();
    let folder = Folder::new();
    let key = format!("a={}", folder.write("secret", &format!("{SECRET}\n")));
    let at = group.local_addr().to_string();
    let args = ["--address", ME, "--discovery-mock", &at, "--key", &key, "--log", "trace"];
    let mut harbor = Process::run(&args);
    harbor.line().await;

    // One with the key is let in, and is told that a harbor serves nothing.
    let key = ClusterKey::new("a", SECRET).unwrap();
    let node = node(&group, "1.1.1").key(key).start().await.unwrap();
    let to: LogicalAddr = ME.parse().unwrap();
    let error = soon("an answer", node.call(to, ECHO, String::new())).await.unwrap_err();
    let is_served = matches!(&error, CallError::NotSent { reason: Reason::Unimplemented, .. });
    assert!(is_served, "{error}");
    harbor.signal("TERM");
    assert_eq!(harbor.code().await, Some(0));
    let said = harbor.rest().await;
    assert!(said.contains("drained") && !said.contains("battery"), "{said}");
}

#[tokio::test]
async fn what_is_counted_is_logged_while_it_changes_and_at_the_end() {
    let (group, place) = (server().await, Place::reserve(ME));
    group.members().put(place.member()).unwrap();
    let folder = Folder::new();
    let engine = engine(&group);
    let text = format!("address = \"{ME}\"\nstats_every_ms = 1\n[discovery]\n{engine}");
    let mut harbor = Process::run(&["--config", &folder.config(&text)]);
    harbor.line().await;
    drop(tokio::net::TcpStream::connect(place.network()).await.unwrap());
    harbor.says("counted so far stats=Stats {").await;
    harbor.signal("TERM");
    harbor.says("drained, nothing is left stats=Stats {").await;
}

#[tokio::test]
async fn check_says_what_would_be_done_and_starts_nothing() {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let file = folder.config(&format!(
        "address = \"{ME}\"\nlisten = \"0.0.0.0:7255\"\ndiscovery = {{ kind = \"file\", path = \"m\" }}\n\
         [[keys]]\nlabel = \"new\"\nsecret_file = {secret:?}\n\
         [[keys]]\nlabel = \"old\"\nsecret = \"{SECRET}\"\n\
         [harbors]\nkind = \"mock\"\naddress = \"db:8110\"\n"
    ));
    let said = support::printed(&["--config", &file, "--check"]).await;
    let wanted = "1.255.1 would relay for group 1 of deployment \"default\"\n  \
        listen     0.0.0.0:7255\n  discovery  file m\n  harbors    mock at db:8110\n  \
        keys       new, old\n  drain      within 30s\n";
    assert_eq!(said, wanted);
    let said = support::printed(&["--address", ME, "--discovery-file", "m", "--check"]).await;
    assert!(said.contains("listen     where discovery says\n"), "{said}");
    assert!(said.contains("harbors    the same\n"), "{said}");
    assert!(said.contains("keys       none, so on loopback only\n"), "{said}");
}

#[tokio::test]
async fn a_mistake_in_the_file_or_a_flag_ends_it_and_says_where_and_what_to_do() {
    let folder = Folder::new();
    let file = folder.config(&format!("address = \"{ME}\"\nlisten = \"7255\"\n"));
    let flags = ["--discovery-file", "m", "--check", "--config"];
    let with = |more: &[&'static str]| [&["--address", ME][..], more].concat();
    let cases = [
        ([&flags[..], &[&file]].concat(), "harbor.toml, line 2, column 10: a network address is"),
        ([&flags[..], &["nowhere.toml"]].concat(), "nowhere.toml: No such file"),
        (vec![], "there is no discovery: add `[discovery]`"),
        (vec!["--discovery-file", "m"], "there is no address: add `address = "),
        (vec!["--address", "1.2.3", "--discovery-file", "m"], "1.2.3, an ordinary node's"),
        (vec!["--address", "1.2", "--discovery-file", "m"], "has three parts"),
        (with(&["--discovery-mock", "here"]), "a network address is host:port"),
        (with(&["--discovery-mock", "a:1", "--discovery-file", "m"]), "cannot be used with"),
        (with(&["--discovery-file", "m", "--listen", "0.0.0.0:1"]), "add a key"),
        (with(&["--discovery-file", "m", "--key", "a"]), "there is no = in it"),
        (with(&["--discovery-file", "m", "--key", "a=nowhere"]), "cannot read its secret"),
        (with(&["--discovery-file", "m", "--log", "seaway=loud"]), "the log filter"),
        (with(&["--discovery-file", "m", "--shutdown-within-ms", "1s"]), "invalid digit"),
        (with(&["--check", "--print-config"]), "cannot be used with"),
    ];
    for (args, wanted) in cases {
        let said = support::complaint(&args).await;
        assert!(said.starts_with("error: ") && said.contains(wanted), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn what_print_config_prints_is_a_file_that_says_the_same() {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let file = folder.config(&format!(
        "address = \"1.255.9\"\ndeployment = \"prod\"\nlabels = {{ zone = \"a\", x = \"y\" }}\n\
         discovery = {{ kind = \"file\", path = \"m\" }}\n\
         [[keys]]\nlabel = \"old\"\nsecret = \"{SECRET}\"\n[limits]\nheartbeat_ms = 250\n"
    ));
    let key = format!("new={secret}");
    let flags = [
        ["--config", &file],
        ["--address", ME],
        ["--listen", "127.0.0.1:7255"],
        ["--harbors-file", "h"],
        ["--label", "zone=b"],
        ["--key", &key],
        ["--shutdown-within-ms", "5"],
        ["--log", "warn"],
    ];
    let flags = [flags.as_flattened(), &["--insecure-remote", "--print-config"]].concat();
    let printed = support::printed(&flags).await;
    let said = [
        "address = \"1.255.1\"",
        "listen = \"127.0.0.1:7255\"",
        "deployment = \"prod\"",
        "zone = \"b\"",
        "x = \"y\"",
        "path = \"h\"",
        "label = \"new\"",
        "heartbeat_ms = 250",
        "outbox_bytes_max = 16777216",
        "shutdown_within_ms = 5",
        "log = \"warn\"",
        "insecure_remote = true",
    ];
    for said in said {
        assert!(printed.contains(&format!("{said}\n")), "{said} is not in {printed}");
    }
    let again = folder.write("again.toml", &printed);
    assert_eq!(support::printed(&["--config", &again, "--print-config"]).await, printed);

    let hidden = support::printed(&["--config", &file, "--print-config"]).await;
    assert!(hidden.contains("secret = \"(hidden)\"") && !hidden.contains("battery"), "{hidden}");
    let again = folder.write("again.toml", &hidden);
    let said = support::complaint(&["--config", &again]).await;
    assert!(said.contains("the secret was hidden when this was printed: put it in"), "{said}");
}

#[tokio::test]
async fn what_is_logged_is_said_by_a_flag_or_else_by_rust_log_or_else_by_the_file() {
    let folder = Folder::new();
    let file = folder.config("log = \"error\"\n");
    let args = ["--address", ME, "--discovery-file", "m", "--print-config", "--config", &file];
    let flag = [&args[..], &["--log", "debug"]].concat();
    let logged = [
        (support::printed(&args).await, "error"),
        (support::printed_with("RUST_LOG", "warn", &args).await, "warn"),
        (support::printed_with("RUST_LOG", "warn", &flag).await, "debug"),
    ];
    for (printed, log) in logged {
        assert!(printed.contains(&format!("log = \"{log}\"\n")), "{log}: {printed}");
    }
}

#[tokio::test]
async fn help_names_every_flag_and_what_signals_do() {
    let help = support::printed(&["--help"]).await;
    for wanted in ["--config <FILE>", "--check", "--print-config", "--harbors-mock", "SIGTERM"] {
        assert!(help.contains(wanted), "{wanted} is not in {help}");
    }
    assert!(support::printed(&["--version"]).await.starts_with("seaway-harbor "));
}
