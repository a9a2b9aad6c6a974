use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn values_stand_by_their_numbers_and_clones_keep_theirs(
        steps in prop::collection::vec((0..20u16, any::<Option<u8>>()), 0..60),
        apart in 1..200u16,
        cloned_at in 0..60usize,
    ) {
        let (mut paged, mut model) = (Paged::default(), BTreeMap::new());
        let mut before = (paged.clone(), model.clone());
        for (step, (number, value)) in steps.into_iter().enumerate() {
            if step == cloned_at {
                before = (paged.clone(), model.clone());
            }
            let number = number * apart;
            let was = paged.set(number, value.map(Arc::new));
            let expected = match value {
                Some(value) => model.insert(number, value),
                None => model.remove(&number),
            };
            prop_assert_eq!(was.map(|was| *was), expected);
        }
        for (paged, model) in [(paged, model), before] {
            prop_assert_eq!(paged.len(), model.len());
            prop_assert!(paged.values().map(|value| **value).eq(model.values().copied()));
            for number in 0..4096 {
                let value = paged.get(number).map(|value| **value);
                prop_assert_eq!(value, model.get(&number).copied());
            }
        }
    }
}

#[test]
fn a_change_of_one_among_all_there_can_be_copies_two_pages() {
    let mut paged = Paged::default();
    for number in 0..4096 {
        paged.set(number, Some(Arc::new(number)));
    }
    let before = paged.clone();
    paged.set(2048, None);
    let pages = before.pages.values.iter().zip(&paged.pages.values);
    assert_eq!(pages.filter(|(before, after)| !Arc::ptr_eq(before, after)).count(), 1);
    assert_eq!((before.len(), paged.len()), (4096, 4095));
}
