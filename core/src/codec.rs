//! How values become bytes and come back: postcard's format (its wire format 1.0), written out by hand.
//!
//! postcard itself goes through serde, whose visitors for the types in here cost a microcontroller 15 KB of flash; this costs a third of that.
//! The types keep their serde derives, for JSON and for hosts, and a test holds both against each other, value by value and byte by byte (`tests/codec.rs`).
//!
//! What must stay true:
//! - what is written here, postcard reads, and the other way round;
//! - a value has one encoding: numbers that are longer than they need to be are refused, which postcard is not strict about;
//! - reading anything at all ends, after at most as many steps as there are bytes, in a value or in a refusal.
//!
//! None of the small steps is inlined: a call is smaller, and there are hundreds.
//! A [`Reader`] that met what it cannot read goes on with zeros and says so at the end, and a [`Writer`] that ran out of room counts nothing more: one question at the end instead of one after every field.

use core::net::Ipv4Addr;
use heapless::Vec;

/// Takes values out of bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    is_broken: bool,
    /// Whether zeros follow the bytes without end.
    is_padded: bool,
}

impl<'a> Reader<'a> {
    /// Reads from the first of these bytes on.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            is_broken: false,
            is_padded: false,
        }
    }

    /// Reads from the first of these bytes on, as if zeros followed them: fields that their writer did not know are none, or nothing.
    pub const fn padded(bytes: &'a [u8]) -> Self {
        Self {
            is_padded: true,
            ..Self::new(bytes)
        }
    }

    /// What is left, if all before it could be read.
    pub const fn end(self) -> Option<&'a [u8]> {
        if self.is_broken {
            None
        } else {
            Some(self.rest)
        }
    }

    /// Whether something could not be read.
    pub const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Refuses what was read; nothing more is.
    #[inline(never)]
    pub fn refuse(&mut self) {
        self.is_broken = true;
        self.rest = &[];
    }

    /// The next byte, as it is.
    #[inline(never)]
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => {
                if !self.is_padded {
                    self.refuse();
                }
                0
            }
        }
    }

    /// A number of at most `most`, in seven bits a byte, the lowest first.
    #[inline(never)]
    pub fn number(&mut self, most: u64) -> u64 {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte();
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            // The tenth byte has room for one bit, and only the first byte may add nothing.
            let is_last = byte < 0x80;
            if (shift == 63 && byte > 1) || (is_last && bits == 0 && shift > 0) {
                break;
            }
            if is_last {
                if number > most {
                    break;
                }
                return number;
            }
            shift += 7;
        }
        self.refuse();
        0
    }

    /// One of the `count` first numbers; at most 128.
    #[inline(never)]
    pub fn tag(&mut self, count: u8) -> u8 {
        let tag = self.byte();
        if tag < count {
            return tag;
        }
        self.refuse();
        0
    }

    /// Bytes behind their number.
    #[inline(never)]
    pub fn run(&mut self) -> &'a [u8] {
        let len = self.number(u64::from(u32::MAX)) as usize;
        match self.rest.split_at_checked(len) {
            Some((run, rest)) => {
                self.rest = rest;
                run
            }
            None => {
                self.refuse();
                &[]
            }
        }
    }

    /// Exactly as many bytes as `out` has, behind their number.
    #[inline(never)]
    pub fn fill(&mut self, out: &mut [u8]) {
        let run = self.run();
        if run.len() == out.len() {
            out.copy_from_slice(run);
        } else {
            self.refuse();
        }
    }
}

/// Puts values into bytes.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the first of these bytes on.
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// How many bytes were written; `None` when there was not room for all.
    pub const fn end(self) -> Option<usize> {
        if self.at <= self.out.len() {
            Some(self.at)
        } else {
            None
        }
    }

    /// One byte, as it is.
    #[inline(never)]
    pub fn byte(&mut self, byte: u8) {
        if let Some(free) = self.out.get_mut(self.at) {
            *free = byte;
            self.at += 1;
        } else {
            self.refuse();
        }
    }

    /// As if there were no room.
    pub const fn refuse(&mut self) {
        self.at = usize::MAX;
    }

    /// A number, in seven bits a byte, the lowest first.
    #[inline(never)]
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Bytes behind their number.
    #[inline(never)]
    pub fn run(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for byte in bytes {
            self.byte(*byte);
        }
    }
}

/// What can be written.
pub trait Encode {
    /// Writes it.
    fn encode(&self, to: &mut Writer<'_>);
}

/// What can be read.
pub trait Decode<'a> {
    /// Reads it; anything at all when the reader is broken.
    fn decode(from: &mut Reader<'a>) -> Self;
}

impl Encode for u8 {
    fn encode(&self, to: &mut Writer<'_>) {
        to.byte(*self);
    }
}

impl Decode<'_> for u8 {
    fn decode(from: &mut Reader<'_>) -> Self {
        from.byte()
    }
}

impl Encode for bool {
    fn encode(&self, to: &mut Writer<'_>) {
        to.byte(u8::from(*self));
    }
}

impl Decode<'_> for bool {
    fn decode(from: &mut Reader<'_>) -> Self {
        from.tag(2) != 0
    }
}

macro_rules! numbers {
    ($($type:ident)*) => {$(
        impl Encode for $type {
            fn encode(&self, to: &mut Writer<'_>) {
                to.number(u64::from(*self));
            }
        }

        impl Decode<'_> for $type {
            fn decode(from: &mut Reader<'_>) -> Self {
                from.number(u64::from($type::MAX)) as $type
            }
        }
    )*};
}

numbers!(u16 u32 u64);

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, to: &mut Writer<'_>) {
        to.byte(u8::from(self.is_some()));
        if let Some(value) = self {
            value.encode(to);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    fn decode(from: &mut Reader<'a>) -> Self {
        (from.tag(2) != 0).then(|| T::decode(from))
    }
}

impl<T: Encode, const MOST: usize> Encode for Vec<T, MOST> {
    fn encode(&self, to: &mut Writer<'_>) {
        to.number(self.len() as u64);
        for item in self {
            item.encode(to);
        }
    }
}

impl<'a, T: Decode<'a>, const MOST: usize> Decode<'a> for Vec<T, MOST> {
    fn decode(from: &mut Reader<'a>) -> Self {
        let mut items = Self::new();
        for _ in 0..from.number(MOST as u64) {
            let item = T::decode(from);
            if from.is_broken || items.push(item).is_err() {
                break;
            }
        }
        items
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, to: &mut Writer<'_>) {
        self.0.encode(to);
        self.1.encode(to);
    }
}

impl<'a, A: Decode<'a>, B: Decode<'a>> Decode<'a> for (A, B) {
    fn decode(from: &mut Reader<'a>) -> Self {
        (A::decode(from), B::decode(from))
    }
}

impl Encode for Ipv4Addr {
    fn encode(&self, to: &mut Writer<'_>) {
        for octet in self.octets() {
            to.byte(octet);
        }
    }
}

impl Decode<'_> for Ipv4Addr {
    fn decode(from: &mut Reader<'_>) -> Self {
        let mut octets = [0; 4];
        for octet in &mut octets {
            *octet = from.byte();
        }
        Self::from(octets)
    }
}

/// Has a type written and read as its fields, one after the other, in the order in which the type declares them.
#[macro_export]
macro_rules! fields {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        $crate::fields!(@impl [] [$name] { $($field),+ });
    };
    ($name:ident<const $len:ident> { $($field:ident),+ $(,)? }) => {
        $crate::fields!(@impl [const $len: usize] [$name<$len>] { $($field),+ });
    };
    ($name:ident<$life:lifetime> { $($field:ident),+ $(,)? }) => {
        impl $crate::codec::Encode for $name<'_> {
            fn encode(&self, to: &mut $crate::codec::Writer<'_>) {
                let Self { $($field),+ } = self;
                $($crate::codec::Encode::encode($field, to);)+
            }
        }

        impl<$life> $crate::codec::Decode<$life> for $name<$life> {
            fn decode(from: &mut $crate::codec::Reader<$life>) -> Self {
                $(let $field = $crate::codec::Decode::decode(from);)+
                Self { $($field),+ }
            }
        }
    };
    (@impl [$($generic:tt)*] [$type:ty] { $($field:ident),+ }) => {
        impl<$($generic)*> $crate::codec::Encode for $type {
            fn encode(&self, to: &mut $crate::codec::Writer<'_>) {
                let Self { $($field),+ } = self;
                $($crate::codec::Encode::encode($field, to);)+
            }
        }

        impl<$($generic)*> $crate::codec::Decode<'_> for $type {
            fn decode(from: &mut $crate::codec::Reader<'_>) -> Self {
                $(let $field = $crate::codec::Decode::decode(from);)+
                Self { $($field),+ }
            }
        }
    };
}

/// Variants with one content each; their numbers are their positions in the declaration.
macro_rules! contents {
    ($name:ident { $($variant:ident $tag:literal),+ $(,)? }) => {
        contents!(@impl [$name] '_ [] $name { $($variant $tag),+ });
    };
    ($name:ident<$life:lifetime> { $($variant:ident $tag:literal),+ $(,)? }) => {
        contents!(@impl [$name<$life>] $life [$life] $name { $($variant $tag),+ });
    };
    (@impl [$type:ty] $life:lifetime [$($generic:tt)*] $name:ident { $($variant:ident $tag:literal),+ }) => {
        impl<$($generic)*> $crate::codec::Encode for $type {
            fn encode(&self, to: &mut $crate::codec::Writer<'_>) {
                match self {
                    $(Self::$variant(content) => {
                        to.byte($tag);
                        $crate::codec::Encode::encode(content, to);
                    })+
                }
            }
        }

        impl<$($generic)*> $crate::codec::Decode<$life> for $type {
            fn decode(from: &mut $crate::codec::Reader<$life>) -> Self {
                contents!(@pick from, from.tag([$($tag),+].len() as u8), $($variant $tag),+)
            }
        }
    };
    (@pick $from:ident, $number:expr, $first:ident $zero:literal $(, $variant:ident $tag:literal)*) => {
        match $number {
            $($tag => Self::$variant($crate::codec::Decode::decode($from)),)*
            // A number out of range has broken the reader, and what comes of it is dropped.
            _ => Self::$first($crate::codec::Decode::decode($from)),
        }
    };
}

/// Variants without content, in the order in which the type declares them.
macro_rules! variants {
    ($name:ident { $first:ident $(, $variant:ident)* $(,)? }) => {
        impl $crate::codec::Encode for $name {
            fn encode(&self, to: &mut $crate::codec::Writer<'_>) {
                to.byte(*self as u8);
            }
        }

        impl $crate::codec::Decode<'_> for $name {
            fn decode(from: &mut $crate::codec::Reader<'_>) -> Self {
                const ALL: &[$name] = &[$name::$first $(, $name::$variant)*];
                let tag = from.tag(ALL.len() as u8);
                ALL.get(usize::from(tag)).copied().unwrap_or($name::$first)
            }
        }
    };
}

pub use fields;
pub(crate) use {contents, variants};
