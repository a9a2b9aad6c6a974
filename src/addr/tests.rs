use proptest::prelude::*;

use super::*;

#[test]
fn each_bad_text_names_the_part_and_its_range() {
    for (text, error) in [
        ("", AddrError::Parts(1)),
        ("1.2", AddrError::Parts(2)),
        ("1.2.3.4", AddrError::Parts(4)),
        ("0.2.3", AddrError::Group(0)),
        ("4096.2.3", AddrError::Group(4096)),
        ("70000.2.3", AddrError::Group(70_000)),
        ("99999999999999999999.2.3", AddrError::Group(u64::MAX)),
        ("1.0.3", AddrError::Type(0)),
        ("1.256.3", AddrError::Type(256)),
        ("1.2.4096", AddrError::Id(4096)),
        ("1.2.70000", AddrError::Id(70_000)),
        ("a.2.3", AddrError::NotANumber { part: "group" }),
        ("1.+2.3", AddrError::NotANumber { part: "type" }),
        ("1.02.3", AddrError::NotANumber { part: "type" }),
        ("1.2.", AddrError::NotANumber { part: "id" }),
        ("1.2. 3", AddrError::NotANumber { part: "id" }),
        ("1.2.\u{663}", AddrError::NotANumber { part: "id" }),
    ] {
        assert_eq!(text.parse::<LogicalAddr>(), Err(error), "{text}");
    }
}

#[test]
fn each_error_says_which_part_and_what_it_may_be() {
    const DIGITS: &str = ", in decimal digits without sign or leading zero";
    for (text, part, range) in [
        ("0.2.3", "group", "1 to 4095, not 0"),
        ("x.2.3", "group", &format!("1 to 4095{DIGITS}")),
        ("1.256.3", "type", "1 to 254, or 255 for a harbor, not 256"),
        ("1..3", "type", &format!("1 to 254, or 255 for a harbor{DIGITS}")),
        ("1.2.99999999999999999999", "id", "0 to 4095, not a number of 20 digits or more"),
        ("1.2.4096", "id", "0 to 4095, not 4096"),
        ("1.2.-1", "id", &format!("0 to 4095{DIGITS}")),
    ] {
        let error = text.parse::<LogicalAddr>().unwrap_err().to_string();
        assert_eq!(error, format!("the {part} of a logical address is {range}"), "{text}");
    }
    assert_eq!(
        "1.2".parse::<LogicalAddr>().unwrap_err().to_string(),
        "a logical address has three parts, group.type.id, such as 1.2.3; this has 2"
    );
}

#[test]
fn a_constant_out_of_range_panics_with_the_part_and_its_range() {
    type Make = fn() -> LogicalAddr;
    let wrong: [(&str, Make); 6] = [
        ("group of a logical address is 1 to 4095", || LogicalAddr::new(0, 1, 1)),
        ("group of a logical address is 1 to 4095", || LogicalAddr::harbor(4096, 1)),
        ("type of a logical address is 1 to 254", || LogicalAddr::new(1, 0, 1)),
        ("type of a logical address is 1 to 254", || LogicalAddr::new(1, 255, 1)),
        ("id of a logical address is 0 to 4095", || LogicalAddr::new(1, 1, 4096)),
        ("id of a logical address is 0 to 4095", || LogicalAddr::harbor(1, 4096)),
    ];
    for (text, make) in wrong {
        let panicked = std::panic::catch_unwind(make).unwrap_err();
        let told = panicked.downcast_ref::<&str>().unwrap();
        assert!(told.contains(text), "{told}");
    }
}

#[test]
fn a_harbor_comes_from_its_own_constructor_or_from_text() {
    assert_eq!(LogicalAddr::try_new(1, 255, 1), Err(AddrError::Type(255)));
    let harbor = LogicalAddr::harbor(1, 1);
    assert!(harbor.is_harbor());
    assert_eq!("1.255.1".parse(), Ok(harbor));
    assert_eq!(harbor.node_type(), NodeType::HARBOR);
}

#[test]
fn an_option_of_an_address_takes_four_bytes() {
    assert_eq!(size_of::<Option<LogicalAddr>>(), 4);
}

#[test]
fn bits_without_group_or_type_are_no_address() {
    assert_eq!(LogicalAddr::from_bits(0), Err(AddrError::Type(0)));
    assert_eq!(LogicalAddr::from_bits(1 << 20), Err(AddrError::Type(0)));
    assert_eq!(LogicalAddr::from_bits(1 << 12), Err(AddrError::Group(0)));
}

#[test]
fn readable_formats_have_text() {
    let addr: LogicalAddr = "1.2.3".parse().unwrap();
    assert_eq!(serde_json::to_string(&addr).unwrap(), "\"1.2.3\"");
    assert_eq!(serde_json::from_str::<LogicalAddr>("\"1.2.3\"").unwrap(), addr);
    let error = serde_json::from_str::<LogicalAddr>("\"1.2\"").unwrap_err();
    assert!(error.to_string().contains("three parts"), "{error}");
}

proptest! {
    #[test]
    fn text_and_bits_lead_back(group in 1u16..=4095, node_type in 1u8..=255, id in 0u16..=4095) {
        let text = format!("{group}.{node_type}.{id}");
        let addr: LogicalAddr = text.parse().unwrap();
        prop_assert_eq!(addr.to_string(), text);
        prop_assert_eq!(LogicalAddr::from_bits(addr.bits()), Ok(addr));
        prop_assert_eq!((addr.group(), addr.node_type().get(), addr.id()), (group, node_type, id));
    }

    #[test]
    fn order_is_by_group_then_type_then_id(
        a in (1u16..=4095, 1u8..=254, 0u16..=4095),
        b in (1u16..=4095, 1u8..=254, 0u16..=4095),
    ) {
        let (x, y) = (LogicalAddr::new(a.0, a.1, a.2), LogicalAddr::new(b.0, b.1, b.2));
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,24}") {
        drop(text.parse::<LogicalAddr>());
    }
}
