use proptest::prelude::*;

use super::*;

fn at(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn member(address: &str) -> Member {
    Member::new(at(address), "127.0.0.1:7001")
}

fn invalid(address: &str) -> Member {
    Member::new(at(address), "nowhere")
}

fn snapshot(revision: u64, members: impl IntoIterator<Item = Member>) -> Event {
    Event::Snapshot { revision, members: members.into_iter().collect() }
}

fn delta(base: u64, changes: impl IntoIterator<Item = Change>) -> Event {
    Event::Delta { base, revision: base + 1, changes: changes.into_iter().collect() }
}

fn put(member: Member) -> Change {
    Change::Put(member)
}

fn remove(address: &str) -> Change {
    Change::Remove(at(address))
}

/// A view of `me` that knows these members as revision 1.
fn view_of<const N: usize>(me: &str, members: [Member; N]) -> View {
    let mut view = View::new(at(me));
    let applied = view.apply(snapshot(1, members));
    assert_eq!((applied.reports, applied.rewatch), (vec![], false));
    view
}

fn visible(view: &View) -> Vec<String> {
    view.members.keys().map(ToString::to_string).collect()
}

/// The changes in short: `+` added, `~` updated, `-` removed.
fn short(applied: &Applied) -> Vec<String> {
    let sign = |change: &ViewChange| match change {
        ViewChange::Added(_) => '+',
        ViewChange::Updated { .. } => '~',
        ViewChange::Removed(_) => '-',
    };
    applied.changes.iter().map(|change| format!("{}{}", sign(change), change.address())).collect()
}

#[test]
fn a_node_sees_its_group_and_what_others_export() {
    let members = || {
        [
            member("1.1.1"),
            member("1.255.1"),
            member("2.1.1"),
            member("2.1.2").exported(true),
            member("2.255.1"),
        ]
    };
    assert_eq!(visible(&view_of("1.1.1", members())), ["1.1.1", "1.255.1", "2.1.2"]);
    let of_harbor = view_of("1.255.1", members());
    assert_eq!(visible(&of_harbor), ["1.1.1", "1.255.1", "2.1.2", "2.255.1"]);
}

#[test]
fn changes_come_in_the_order_of_addresses_with_what_was_before() {
    let mut view = view_of("1.1.1", [member("1.1.1"), member("1.1.2"), member("1.1.3")]);
    let applied = view.apply(delta(
        1,
        [put(member("1.9.9")), remove("1.1.3"), put(member("1.1.1").available(false))],
    ));
    assert_eq!(short(&applied), ["~1.1.1", "-1.1.3", "+1.9.9"]);
    let ViewChange::Updated { old, new } = &applied.changes[0] else { panic!("{applied:?}") };
    assert!(old.available && !new.available);
}

#[test]
fn what_is_told_again_or_was_never_known_changes_nothing() {
    let mut view = view_of("1.1.1", [member("1.1.1")]);
    let again = view.apply(snapshot(1, [member("1.1.1")]));
    assert_eq!(again, Applied::default());
    let unknown = view.apply(delta(1, [put(member("1.1.1")), remove("1.1.2")]));
    assert_eq!(unknown, Applied::default());
}

#[test]
fn export_can_be_given_and_taken() {
    let mut view = view_of("1.1.1", [member("1.1.1"), member("2.1.1")]);
    assert_eq!(short(&view.apply(delta(1, [put(member("2.1.1").exported(true))]))), ["+2.1.1"]);
    assert_eq!(short(&view.apply(delta(2, [put(member("2.1.1"))]))), ["-2.1.1"]);
    assert_eq!(short(&view.apply(delta(3, [put(member("2.1.1"))]))), [""; 0]);
    // In the own group it makes no such difference.
    assert_eq!(short(&view.apply(delta(4, [put(member("1.1.1").exported(true))]))), ["~1.1.1"]);
}

#[test]
fn of_duplicates_the_last_one_counts() {
    let mut view = View::new(at("1.1.1"));
    let applied = view.apply(snapshot(1, [member("1.1.1"), member("1.1.1").available(false)]));
    assert_eq!(applied.reports, [Report::Duplicate(at("1.1.1"))]);
    assert!(!view.get(at("1.1.1")).unwrap().available);
}

#[test]
fn an_invalid_entry_is_reported_and_changes_nothing() {
    let mut view = view_of("1.1.1", [member("1.1.1"), member("1.1.2")]);
    let told = view.apply(delta(1, [put(invalid("1.1.1")), put(invalid("1.1.3"))]));
    assert_eq!((told.changes.len(), told.reports.len()), (0, 2));
    // Also of all members at once: they are still there, only badly described.
    let told = view.apply(snapshot(2, [invalid("1.1.1"), invalid("1.1.2")]));
    assert_eq!((told.changes.len(), told.reports.len()), (0, 2));
    assert_eq!(visible(&view), ["1.1.1", "1.1.2"]);
}

#[test]
fn p17_an_empty_snapshot_is_believed_only_when_a_removal_confirms_it() {
    let emptied = |view: &mut View| {
        let applied = view.apply(snapshot(2, []));
        assert_eq!(applied.reports, [Report::Emptied { held: 2 }]);
        assert!(applied.changes.is_empty() && !applied.rewatch);
    };
    let two = || view_of("1.1.1", [member("1.1.1"), member("1.1.2")]);

    let mut by_delta = two();
    emptied(&mut by_delta);
    assert_eq!(short(&by_delta.apply(delta(2, [put(member("1.1.3"))]))), ["+1.1.3"]);
    assert_eq!(short(&by_delta.apply(delta(3, [remove("1.1.2")]))), ["-1.1.2"]);
    assert_eq!(visible(&by_delta), ["1.1.1", "1.1.3"]);

    let mut by_snapshot = two();
    emptied(&mut by_snapshot);
    by_snapshot.on_new_watch();
    emptied(&mut by_snapshot);
    let told = by_snapshot.apply(snapshot(3, [member("1.1.1")]));
    assert_eq!(short(&told), ["-1.1.2"]);
}

#[test]
fn p17_a_removal_counts_at_once_also_that_of_the_node_itself() {
    let mut view = view_of("1.1.1", [member("1.1.1"), member("1.1.2")]);
    assert_eq!(short(&view.apply(snapshot(2, [member("1.1.2")]))), ["-1.1.1"]);
    assert!(view.get(at("1.1.1")).is_none());
    assert_eq!(short(&view.apply(delta(2, [remove("1.1.2")]))), ["-1.1.2"]);
    assert_eq!(view.len(), 0);
}

#[test]
fn an_empty_snapshot_is_nothing_special_when_nobody_was_there() {
    assert_eq!(View::new(at("1.1.1")).apply(snapshot(0, [])), Applied::default());
}

#[test]
fn p17_an_engine_that_lost_its_state_is_believed_on_a_new_watch_only() {
    let mut view = View::new(at("1.1.1"));
    view.apply(snapshot(9, [member("1.1.1"), member("1.1.2")]));

    let told = view.apply(snapshot(3, [member("1.1.1")]));
    assert_eq!(told.reports, [Report::Outdated { known: 9, told: 3 }]);
    assert!(told.changes.is_empty() && told.rewatch);

    view.on_new_watch();
    let told = view.apply(snapshot(3, [member("1.1.1")]));
    assert_eq!(told.reports, [Report::WentBack { seen: 9, told: 3 }]);
    assert_eq!((short(&told), told.rewatch), (vec!["-1.1.2".to_owned()], false));
    // From here on it counts from 3.
    assert_eq!(short(&view.apply(delta(3, [put(member("1.1.3"))]))), ["+1.1.3"]);
}

#[test]
fn a_delta_on_another_base_asks_for_a_new_watch() {
    let mut fresh = View::new(at("1.1.1"));
    let mut view = view_of("1.1.1", [member("1.1.1")]);
    let mut rewatched = view_of("1.1.1", [member("1.1.1")]);
    rewatched.on_new_watch();
    for (view, base) in [(&mut fresh, 0), (&mut view, 0), (&mut rewatched, 1)] {
        let told = view.apply(delta(base, [remove("1.1.1")]));
        assert_eq!(told.reports, [Report::UnknownBase { base }]);
        assert!(told.changes.is_empty() && told.rewatch);
    }
    assert!(view.apply(delta(2, [remove("1.1.1")])).rewatch, "a base that is still to come");
    let back = view.apply(Event::Delta { base: 1, revision: 0, changes: vec![remove("1.1.1")] });
    assert_eq!(back.reports, [Report::Outdated { known: 1, told: 0 }]);
    assert!(back.changes.is_empty() && back.rewatch);
}

#[test]
fn a_problem_of_the_engine_is_passed_on_and_changes_nothing() {
    let mut view = view_of("1.1.1", [member("1.1.1")]);
    let told = view.apply(Event::Problem("no disk".to_owned()));
    assert_eq!(told.reports, [Report::Problem("no disk".to_owned())]);
    assert!(told.changes.is_empty() && !told.rewatch);
}

/// The rules again, as simply as they can be said: all members, whoever sees them.
#[derive(Debug, Default)]
struct Model {
    members: BTreeMap<LogicalAddr, Member>,
    revision: Option<u64>,
}

impl Model {
    /// Whether a node would have to watch again.
    fn apply(&mut self, event: &Event, sees: impl Fn(&Member) -> bool) -> bool {
        match event {
            Event::Snapshot { revision, .. } if self.revision.is_some_and(|r| *revision < r) => {
                return true;
            }
            Event::Snapshot { revision, members } => {
                self.revision = Some(*revision);
                let anybody = self.members.values().any(&sees);
                if !(members.is_empty() && anybody) {
                    self.members.retain(|a, _| members.iter().any(|m| m.address == *a));
                    members.iter().for_each(|member| self.put(member));
                }
            }
            Event::Delta { base, revision, .. }
                if self.revision != Some(*base) || revision < base =>
            {
                return true;
            }
            Event::Delta { revision, changes, .. } => {
                self.revision = Some(*revision);
                for change in changes {
                    match change {
                        Change::Put(member) => self.put(member),
                        Change::Remove(address) => drop(self.members.remove(address)),
                    }
                }
            }
            Event::Problem(_) => {}
        }
        false
    }

    fn put(&mut self, member: &Member) {
        if member.check().is_ok() {
            self.members.insert(member.address, member.clone());
        }
    }
}

fn any_address() -> impl Strategy<Value = LogicalAddr> {
    (1..=3u16, prop_oneof![Just(1u8), Just(255)], 0..3u16)
        .prop_map(|(group, kind, id)| at(&format!("{group}.{kind}.{id}")))
}

fn any_member() -> impl Strategy<Value = Member> {
    let network = prop_oneof![5 => Just("a:1"), 5 => Just("b:1"), 1 => Just("nowhere")];
    (any_address(), network, any::<bool>())
        .prop_map(|(address, network, exported)| Member::new(address, network).exported(exported))
}

#[derive(Clone, Debug)]
enum Step {
    NewWatch,
    Tell(Event),
}

fn any_step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        2 => any_member().prop_map(Change::Put),
        1 => any_address().prop_map(Change::Remove),
    ];
    let snapshot = (0..4u64, prop::collection::vec(any_member(), 0..6))
        .prop_map(|(revision, members)| Event::Snapshot { revision, members });
    // Few revisions, so that most deltas find their base.
    let delta = (0..4u64, 0..4u64, prop::collection::vec(change, 0..4))
        .prop_map(|(base, revision, changes)| Event::Delta { base, revision, changes });
    prop_oneof![
        1 => Just(Step::NewWatch),
        4 => snapshot.prop_map(Step::Tell),
        8 => delta.prop_map(Step::Tell),
    ]
}

proptest! {
    #[test]
    fn a_view_is_what_the_rules_say_and_its_changes_tell_all_of_it(
        me in any_address(),
        steps in prop::collection::vec(any_step(), 0..40),
    ) {
        let sees = |member: &Member| {
            let address = member.address;
            member.exported
                || address.group() == me.group()
                || (me.is_harbor() && address.is_harbor())
        };
        let (mut view, mut model) = (View::new(me), Model::default());
        let mut replayed = BTreeMap::new();
        for step in steps {
            let event = match step {
                Step::NewWatch => {
                    view.on_new_watch();
                    model.revision = None;
                    continue;
                }
                Step::Tell(event) => event,
            };
            let must_rewatch = model.apply(&event, sees);
            let applied = view.apply(event);
            prop_assert_eq!(applied.rewatch, must_rewatch);
            prop_assert!(applied.changes.is_sorted_by(|a, b| a.address() < b.address()));
            for change in applied.changes {
                let address = change.address();
                match change {
                    ViewChange::Added(new) => {
                        prop_assert_eq!(replayed.insert(address, new), None);
                    }
                    ViewChange::Updated { old, new } => {
                        prop_assert_ne!(&old, &new);
                        prop_assert_eq!(replayed.insert(address, new), Some(old));
                    }
                    ViewChange::Removed(old) => {
                        prop_assert_eq!(replayed.remove(&address), Some(old));
                    }
                }
            }
            prop_assert_eq!(&replayed, &view.members);
            prop_assert!(view.members.values().map(|m| &**m)
                .eq(model.members.values().filter(|m| sees(m))));
        }
    }
}

#[test]
fn what_harbors_carried_out_of_a_group_is_nothing_to_that_group() {
    let echo = || member("1.1.2").exported(true).carried_by(at("1.255.1"));
    let mut view = view_of("1.1.1", [member("1.1.1"), echo()]);
    assert_eq!(visible(&view), ["1.1.1"]);
    view.apply(delta(1, [put(member("1.1.2"))]));
    assert_eq!(short(&view.apply(delta(2, [put(echo())]))), ["-1.1.2"]);
}

/// What harbors of the own group have carried to it.
fn carried(address: &str) -> Member {
    member(address).exported(true).carried_by(at("1.255.1"))
}

#[test]
fn p17_carried_members_that_an_engine_has_forgotten_stay_until_they_are_given_up() {
    let away: [fn(&mut View); 2] =
        [View::on_new_watch, |view| drop(view.apply(Event::Problem("it is away".to_owned())))];
    for be_away in away {
        let mut view = view_of("1.1.1", [member("1.1.1"), carried("2.1.1"), carried("2.1.2")]);
        be_away(&mut view);
        assert!(view.is_unsure());
        assert_eq!(short(&view.apply(snapshot(2, [member("1.1.1")]))), [""; 0]);
        assert!(view.is_doubting() && !view.is_unsure());
        assert_eq!(short(&view.apply(snapshot(3, [member("1.1.1")]))), [""; 0]);
        // One is carried again.
        view.apply(delta(3, [put(carried("2.1.1"))]));
        be_away(&mut view);
        assert_eq!(short(&view.settle()), [""; 0], "it is away again");
        view.apply(snapshot(4, [member("1.1.1"), carried("2.1.1")]));
        assert_eq!(short(&view.settle()), ["-2.1.2"]);
        assert!(!view.is_doubting());
    }
}

#[test]
fn carried_members_go_at_once_when_the_engine_was_not_away() {
    let mut view = view_of("1.1.1", [member("1.1.1"), carried("2.1.1"), carried("2.1.2")]);
    assert_eq!(short(&view.apply(delta(1, [remove("2.1.1")]))), ["-2.1.1"]);
    assert_eq!(short(&view.apply(snapshot(3, [member("1.1.1")]))), ["-2.1.2"]);
}
