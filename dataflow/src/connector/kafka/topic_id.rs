//! Ids of topics, as librdkafka's log tells of them.
//!
//! Read by [`super::client`]. librdkafka goes on in a topic that was deleted and created again
//! where it was in the old one, and no answer says so; its log does, before it asks for the first
//! record of the new one. Invariant: what is not understood is not taken for an id.

/// Between the topic's name and its ids.
const CHANGED: &str = " changed id from ";

/// Which topic a line of the log says has another id now, and which.
pub(super) fn changed(line: &str) -> Option<(&str, u128)> {
    let (before, ids) = line.split_once(CHANGED)?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (_, new) = ids.trim_end().split_once(" to ")?;
    Some((topic, parse(new)?))
}

/// An id in base64, without padding.
fn parse(text: &str) -> Option<u128> {
    if text.len() != 22 {
        return None;
    }
    let (last, first) = text.as_bytes().split_last()?;
    let id =
        first.iter().try_fold(0_u128, |id, digit| Some(id << 6 | u128::from(value(*digit)?)))?;
    // Of the last digit two bits count.
    Some(id << 2 | u128::from(value(*last)? >> 4))
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_and_its_new_id_are_read() {
        let line = "[thrd:main]: Topic a-b.c_1 changed id from AAAAAAAAAAAAAAAAAAAAAA to \
                    AQIDBAUGBwgJCgsMDQ4P/w";
        let id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0fff;
        assert_eq!(changed(line), Some(("a-b.c_1", id)));
        let zero = "Topic a changed id from AQIDBAUGBwgJCgsMDQ4P/w to AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(changed(zero), Some(("a", 0)));
    }

    #[test]
    fn what_is_no_id_is_none() {
        for line in [
            "Topic a [0] Leader 1 Epoch 0",
            "Topic a changed id from x",
            "Topic a changed id from x to AQIDBAUGBwgJCgsMDQ4P",
            "Topic a changed id from x to AQIDBAUGBwgJCgsMDQ4P*w",
        ] {
            assert_eq!(changed(line), None, "{line}");
        }
    }
}
