use super::*;

fn judged(told: &str, got: &str) -> Verdict {
    let mut journal = Journal::default();
    journal.hear(told);
    let run = Run { out: format!("OPEN clean 0 .\n{got}END .\n"), code: Some(0), ..Run::default() };
    journal.compare(&run, false)
}

fn got(number: u64) -> String {
    let letter = char::from(b'a' + ((7 + number) % 26) as u8);
    format!("GOT 1 0 {number} {}\n", letter.to_string().repeat((number * 131 % 1500) as usize))
}

const TRIED: &str = "TRY 1 0 0 .\nACK 1 0 0 .\nTRY 1 0 1 .\nACK 1 0 1 .\nTRY 1 0 2 .\nACK 1 0 2";

#[test]
fn what_was_promised_and_what_was_only_tried_may_be_there() {
    assert!(judged(TRIED, &[got(0), got(1)].concat()).is_good());
    assert!(judged(TRIED, &[got(0), got(1), got(2)].concat()).is_good());
}

#[test]
fn a_lost_a_repeated_an_invented_and_a_changed_commit_are_seen() {
    assert_eq!(judged(TRIED, &got(0)).lost.len(), 1);
    assert!(!judged(TRIED, &[got(0), got(1), got(1)].concat()).is_good());
    assert!(!judged(TRIED, &[got(1), got(0)].concat()).is_good());
    assert!(!judged(TRIED, &[got(0), got(1), got(2), got(3)].concat()).is_good());
    assert!(!judged(TRIED, &[got(0), got(1).replace('i', "j")].concat()).is_good());
}

#[test]
fn a_log_that_does_not_open_is_no_good() {
    let run = Run { err: "corrupt".to_owned(), code: Some(1), ..Run::default() };
    assert!(!Journal::default().compare(&run, false).is_good());
}

#[test]
fn a_promise_for_what_came_after_the_failure_of_the_log_is_false_until_the_next_life() {
    let false_acks = |told: &str| {
        let mut journal = Journal::default();
        journal.hear(told);
        journal.false_acks()
    };
    let failed =
        "UP .\nTRY 1 0 0 .\nTRY 1 1 0 .\nERR Unknown 3 lsn 1 to 2: may or may not survive: a sync failed .\n";
    assert_eq!(false_acks(&format!("{failed}ACK 1 1 0 .\n")), 0, "it was under way before");
    assert_eq!(false_acks(&format!("{failed}TRY 1 1 1 .\nACK 1 1 1 .\n")), 1);
    assert_eq!(false_acks(&format!("{failed}UP .\nTRY 2 1 0 .\nACK 2 1 0 .\n")), 0);
    assert_eq!(false_acks("UP .\nERR Unknown 3 preparing a segment failed .\nTRY 1 0 0 .\nACK 1 0 0 .\n"), 0);
    assert_eq!(false_acks("UP .\nERR NoSpace 3 full .\nTRY 1 0 0 .\nACK 1 0 0 .\n"), 0);
}
