use proptest::prelude::*;

use super::*;

fn member(network: &str) -> Member {
    Member::new("1.2.3".parse().unwrap(), network)
}

#[test]
fn a_network_address_is_a_host_and_a_port() {
    for good in [
        "localhost:1",
        "10.0.0.7:65535",
        "node-1.my_zone.example.:7001",
        "[::1]:7001",
        "[2001:db8::7]:80",
        "[fe80::1%3]:80",
    ] {
        assert_eq!(member(good).check(), Ok(()), "{good}");
    }
    let too_long = format!("{}:1", "a".repeat(254));
    for bad in [
        "",
        ":7001",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:+80",
        "localhost: 80",
        "lo calhost:80",
        "::1:80",
        "[::1]",
        "[::1]:0",
        "[::1:80",
        "[localhost]:80",
        "http://a:80",
        "a/b:80",
        "h\u{f6}st:80",
        &too_long,
    ] {
        assert!(matches!(member(bad).check(), Err(MemberError::Network(_))), "{bad}");
    }
}

#[test]
fn labels_are_limited_in_number_and_in_bytes() {
    let many = |count: usize| (0..count).fold(member("a:1"), |m, i| m.label(i.to_string(), ""));
    assert_eq!(many(32).check(), Ok(()));
    assert_eq!(many(33).check(), Err(MemberError::Labels(33)));
    assert_eq!(member("a:1").label("key", "x".repeat(4093)).check(), Ok(()));
    let long = member("a:1").label("key", "x".repeat(4094));
    assert_eq!(long.check(), Err(MemberError::LabelBytes(4097)));
}

#[test]
fn serde_needs_only_the_two_addresses_and_leads_back() {
    let least = r#"{"address":"1.2.3","network":"a:1"}"#;
    assert_eq!(serde_json::from_str::<Member>(least).unwrap(), member("a:1"));

    let full = member("a:1")
        .exported(true)
        .available(false)
        .incarnation(Incarnation::from_bits(u64::MAX))
        .label("zone", "a");
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<Member>(&text).unwrap(), full);
}

#[test]
fn an_error_shows_only_the_beginning_of_what_it_complains_about() {
    let Err(error) = member(&"\u{1}".repeat(1 << 20)).check() else { panic!("accepted") };
    assert!(error.to_string().len() < 1000);
}

proptest! {
    #[test]
    fn what_passes_is_what_the_standard_library_can_split(network in "[a-z0-9.:\\[\\]+-]{0,12}") {
        if member(&network).check().is_ok() {
            let (host, port) = network.rsplit_once(':').unwrap();
            prop_assert!(!host.is_empty());
            prop_assert!(port.parse::<u16>().unwrap() > 0);
        }
    }
}
