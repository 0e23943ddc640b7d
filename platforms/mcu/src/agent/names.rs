//! Names, asked of a name server: one question for one address (RFC 1035), which is all that the tunnel needs.
//!
//! embassy-net's own resolver is 3 KB of flash, and keeps room for four questions in each of the two stacks.
//! Nothing is believed because of an answer: a hub that is not the hub cannot answer a handshake.

use core::net::Ipv4Addr;

use heapless::Vec;
use lightship_core::limits::ENDPOINT_BYTES;

/// Where a name server listens.
pub(super) const PORT: u16 = 53;

const HEADER: usize = 12;
/// The longest host has a length in front of each part and an end; type and class follow.
const LONGEST: usize = HEADER + ENDPOINT_BYTES + 2 + 4;
/// The longest part of a name.
const PART: usize = 63;

/// One question of one name that says: recursion is wanted.
const ASKED: [u8; 10] = [0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// In an answer: that it is one, and what went wrong.
const IS_ANSWER: u8 = 0x80;
const FAILURE: u8 = 0x0F;
/// In a name: it goes on elsewhere, and ends here.
const ELSEWHERE: u8 = 0xC0;

/// A question, as it is sent.
pub(super) struct Question(Vec<u8, LONGEST>);

impl Question {
    /// The question for a host's address; `number` is one that who would answer in the server's place has to guess. None if no host has such a name.
    pub(super) fn new(host: &str, number: u16) -> Option<Self> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&number.to_be_bytes()).ok()?;
        bytes.extend_from_slice(&ASKED).ok()?;
        for part in host.as_bytes().split(|byte| *byte == b'.') {
            if part.is_empty() || part.len() > PART {
                return None;
            }
            bytes.push(part.len() as u8).ok()?;
            bytes.extend_from_slice(part).ok()?;
        }
        bytes.push(0).ok()?;
        bytes.extend_from_slice(&ADDRESS).ok()?;
        Some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first address in a datagram; the inner `None` if the server knows none, the outer if this is no answer to this question.
    pub(super) fn answer(&self, datagram: &[u8]) -> Option<Option<Ipv4Addr>> {
        let (asked, records) = datagram.split_at_checked(self.0.len())?;
        let is_same = asked[..2] == self.0[..2] && asked[HEADER..] == self.0[HEADER..];
        if !is_same || asked[2] & IS_ANSWER == 0 {
            return None;
        }
        if asked[3] & FAILURE != 0 {
            return Some(None);
        }
        Some(first_address(records))
    }
}

/// The first address in these records: a server that was asked for recursion has followed other names by itself.
fn first_address(mut records: &[u8]) -> Option<Ipv4Addr> {
    loop {
        let (kind, rest) = after_name(records)?.split_first_chunk::<4>()?;
        // Seconds that it may be kept come before its length.
        let (length, rest) = rest.get(4..)?.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        if *kind == ADDRESS {
            return <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from);
        }
        records = rest;
    }
}

fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first()?;
        match *length {
            0 => return Some(rest),
            length if length >= ELSEWHERE => return rest.get(1..),
            length => bytes = rest.get(length.into()..)?,
        }
    }
}

/// The host's address, if that is what it is written as; by hand, because what parses any number is more code than this.
pub(super) fn written(host: &str) -> Option<Ipv4Addr> {
    let mut numbers = host.as_bytes().split(|byte| *byte == b'.').map(number);
    let mut address = [0; 4];
    for octet in &mut address {
        *octet = numbers.next()??.try_into().ok()?;
    }
    numbers.next().is_none().then(|| address.into())
}

/// A number in decimal digits.
pub(super) fn number(digits: &[u8]) -> Option<u16> {
    let (first, rest) = digits.split_first()?;
    let digit = |digit: &u8| digit.checked_sub(b'0').filter(|digit| *digit < 10);
    rest.iter()
        .try_fold(digit(first)?.into(), |number: u16, next| {
            number.checked_mul(10)?.checked_add(digit(next)?.into())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::new("hub.example.org", 0xBEEF).unwrap()
    }

    /// An answer of these records: type, class, data.
    fn answer(of: &Question, flags: [u8; 2], records: &[(u16, u16, &[u8])]) -> std::vec::Vec<u8> {
        let mut bytes = of.bytes().to_vec();
        bytes[2..4].copy_from_slice(&flags);
        bytes[7] = records.len() as u8;
        for (kind, class, data) in records {
            bytes.extend([0xC0, 0x0C]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(class.to_be_bytes());
            bytes.extend([0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn a_question_is_one_of_rfc_1035() {
        let mut wanted = std::vec![0xBE, 0xEF, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        wanted.extend(b"\x03hub\x07example\x03org\x00\x00\x01\x00\x01");
        assert_eq!(question().bytes(), wanted);
        let longest = std::format!("{}.{}", "a".repeat(40), "b".repeat(21));
        assert!(Question::new(&longest, 0).is_some());
        for none in ["", ".", "hub.", "a..b", &"a".repeat(64)] {
            assert!(Question::new(none, 0).is_none(), "{none}");
        }
    }

    #[test]
    fn the_address_is_found_behind_other_names() {
        let asked = question();
        let records: [(u16, u16, &[u8]); 3] = [
            (5, 1, b"\x05other\xC0\x10"),
            (28, 1, &[0; 16]),
            (1, 1, &[192, 0, 2, 7]),
        ];
        let bytes = answer(&asked, [0x81, 0x80], &records);
        assert_eq!(
            asked.answer(&bytes),
            Some(Some(Ipv4Addr::new(192, 0, 2, 7)))
        );
        let with_a_name = b"\x05other\x03org\x00\x00\x01\x00\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04";
        let bytes = [&answer(&asked, [0x81, 0x80], &[]), &with_a_name[..]].concat();
        assert_eq!(asked.answer(&bytes), Some(Some(Ipv4Addr::new(1, 2, 3, 4))));
    }

    #[test]
    fn what_was_not_asked_is_no_answer() {
        let asked = question();
        let bytes = answer(&asked, [0x81, 0x80], &[(1, 1, &[192, 0, 2, 7])]);
        for place in [0, 1, 13, 31] {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert_eq!(asked.answer(&other), None, "byte {place}");
        }
        assert_eq!(asked.answer(asked.bytes()), None, "the question itself");
        assert_eq!(asked.answer(&[]), None);
    }

    #[test]
    fn an_answer_without_an_address_says_so_and_no_end_of_it_breaks_anything() {
        let asked = question();
        for failure in 1..16 {
            let bytes = answer(&asked, [0x81, 0x80 | failure], &[(1, 1, &[1, 2, 3, 4])]);
            assert_eq!(asked.answer(&bytes), Some(None));
        }
        let records: [(u16, u16, &[u8]); 2] = [(5, 1, b"\x05other\xC0\x10"), (1, 1, &[1, 2, 3, 4])];
        let whole = answer(&asked, [0x81, 0x80], &records);
        for end in asked.bytes().len()..whole.len() {
            assert_eq!(asked.answer(&whole[..end]), Some(None), "{end}");
        }
        let wrong = answer(&asked, [0x81, 0x80], &[(1, 1, &[1, 2, 3])]);
        assert_eq!(asked.answer(&wrong), Some(None));
    }

    #[test]
    fn an_address_may_be_written_out() {
        assert_eq!(written("10.0.2.2"), Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(written("255.255.255.255"), Some(Ipv4Addr::BROADCAST));
        for none in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1..3.4",
            "1.2.3.4x",
            "hub",
            "1.2.3.99999999",
        ] {
            assert_eq!(written(none), None, "{none}");
        }
    }
}
