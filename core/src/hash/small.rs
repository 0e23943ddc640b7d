//! SHA-256 and SHA-512 (FIPS 180-4, sections 6.2 and 6.4) in 0.9 KB beside their constants: a byte and a round at a time.
//!
//! How long it takes depends on the length of what is hashed alone, so secrets may be hashed too.

/// The first 64 bits of the fractional parts of the square roots of the first eight primes (section 5.3.5); SHA-256 begins with their high halves.
static START: [u64; 8] = [
    0x6A09_E667_F3BC_C908,
    0xBB67_AE85_84CA_A73B,
    0x3C6E_F372_FE94_F82B,
    0xA54F_F53A_5F1D_36F1,
    0x510E_527F_ADE6_82D1,
    0x9B05_688C_2B3E_6C1F,
    0x1F83_D9AB_FB41_BD6B,
    0x5BE0_CD19_137E_2179,
];

/// The same of the cube roots of the first eighty primes (section 4.2.3); SHA-256 takes the high halves of the first sixty-four.
static ROUNDS: [u64; 80] = [
    0x428A_2F98_D728_AE22,
    0x7137_4491_23EF_65CD,
    0xB5C0_FBCF_EC4D_3B2F,
    0xE9B5_DBA5_8189_DBBC,
    0x3956_C25B_F348_B538,
    0x59F1_11F1_B605_D019,
    0x923F_82A4_AF19_4F9B,
    0xAB1C_5ED5_DA6D_8118,
    0xD807_AA98_A303_0242,
    0x1283_5B01_4570_6FBE,
    0x2431_85BE_4EE4_B28C,
    0x550C_7DC3_D5FF_B4E2,
    0x72BE_5D74_F27B_896F,
    0x80DE_B1FE_3B16_96B1,
    0x9BDC_06A7_25C7_1235,
    0xC19B_F174_CF69_2694,
    0xE49B_69C1_9EF1_4AD2,
    0xEFBE_4786_384F_25E3,
    0x0FC1_9DC6_8B8C_D5B5,
    0x240C_A1CC_77AC_9C65,
    0x2DE9_2C6F_592B_0275,
    0x4A74_84AA_6EA6_E483,
    0x5CB0_A9DC_BD41_FBD4,
    0x76F9_88DA_8311_53B5,
    0x983E_5152_EE66_DFAB,
    0xA831_C66D_2DB4_3210,
    0xB003_27C8_98FB_213F,
    0xBF59_7FC7_BEEF_0EE4,
    0xC6E0_0BF3_3DA8_8FC2,
    0xD5A7_9147_930A_A725,
    0x06CA_6351_E003_826F,
    0x1429_2967_0A0E_6E70,
    0x27B7_0A85_46D2_2FFC,
    0x2E1B_2138_5C26_C926,
    0x4D2C_6DFC_5AC4_2AED,
    0x5338_0D13_9D95_B3DF,
    0x650A_7354_8BAF_63DE,
    0x766A_0ABB_3C77_B2A8,
    0x81C2_C92E_47ED_AEE6,
    0x9272_2C85_1482_353B,
    0xA2BF_E8A1_4CF1_0364,
    0xA81A_664B_BC42_3001,
    0xC24B_8B70_D0F8_9791,
    0xC76C_51A3_0654_BE30,
    0xD192_E819_D6EF_5218,
    0xD699_0624_5565_A910,
    0xF40E_3585_5771_202A,
    0x106A_A070_32BB_D1B8,
    0x19A4_C116_B8D2_D0C8,
    0x1E37_6C08_5141_AB53,
    0x2748_774C_DF8E_EB99,
    0x34B0_BCB5_E19B_48A8,
    0x391C_0CB3_C5C9_5A63,
    0x4ED8_AA4A_E341_8ACB,
    0x5B9C_CA4F_7763_E373,
    0x682E_6FF3_D6B2_B8A3,
    0x748F_82EE_5DEF_B2FC,
    0x78A5_636F_4317_2F60,
    0x84C8_7814_A1F0_AB72,
    0x8CC7_0208_1A64_39EC,
    0x90BE_FFFA_2363_1E28,
    0xA450_6CEB_DE82_BDE9,
    0xBEF9_A3F7_B2C6_7915,
    0xC671_78F2_E372_532B,
    0xCA27_3ECE_EA26_619C,
    0xD186_B8C7_21C0_C207,
    0xEADA_7DD6_CDE0_EB1E,
    0xF57D_4F7F_EE6E_D178,
    0x06F0_67AA_7217_6FBA,
    0x0A63_7DC5_A2C8_98A6,
    0x113F_9804_BEF9_0DAE,
    0x1B71_0B35_131C_471B,
    0x28DB_77F5_2304_7D84,
    0x32CA_AB7B_40C7_2493,
    0x3C9E_BE0A_15C9_BEBC,
    0x431D_67C4_9C10_0D4C,
    0x4CC5_D4BE_CB3E_42B6,
    0x597F_299C_FC65_7E2A,
    0x5FCB_6FAB_3AD6_FAEC,
    0x6C44_198C_4A47_5817,
];

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident, $word:ident, $size:literal, $rounds:literal, $constant:expr,
     $turned:ident, $big:expr, $small:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $name {
            state: [$word; 8],
            block: [$word; 16],
            /// Bytes taken so far.
            count: usize,
        }

        impl $name {
            /// Bytes of a block.
            const BLOCK: usize = 16 * $size;

            pub(crate) fn new() -> Self {
                let mut new = Self {
                    state: [0; 8],
                    block: [0; 16],
                    count: 0,
                };
                for (word, start) in new.state.iter_mut().zip(&START) {
                    *word = $constant(*start);
                }
                new
            }

            #[inline(never)]
            pub(crate) fn update(&mut self, bytes: &[u8]) {
                for byte in bytes {
                    self.byte(*byte);
                }
            }

            pub(crate) fn finish(mut self) -> [u8; 8 * $size] {
                let bits = (self.count as u64) << 3;
                self.byte(0x80);
                // The number of bits takes as much as two words.
                while self.count % Self::BLOCK != Self::BLOCK - 2 * $size {
                    self.byte(0);
                }
                self.update(&[0; 2 * $size - 8]);
                self.update(&bits.to_be_bytes());
                let mut digest = [0; 8 * $size];
                for (out, word) in digest.chunks_exact_mut($size).zip(&self.state) {
                    out.copy_from_slice(&word.to_be_bytes());
                }
                digest
            }

            #[inline(never)]
            fn byte(&mut self, byte: u8) {
                let word = &mut self.block[self.count / $size % 16];
                *word = *word << 8 | $word::from(byte);
                self.count += 1;
                if self.count.is_multiple_of(Self::BLOCK) {
                    self.compress();
                }
            }

            #[inline(never)]
            fn compress(&mut self) {
                let (big, small): ([[u8; 3]; 2], [([u8; 3], u32); 2]) = ($big, $small);
                let mut v = self.state;
                for (at, round) in ROUNDS[..$rounds].iter().enumerate() {
                    if at >= 16 {
                        let [w1, w9, w14] = [1, 9, 14].map(|later| self.block[(at + later) % 16]);
                        self.block[at % 16] = self.block[at % 16]
                            .wrapping_add($turned(w1, small[0].0) ^ w1 >> small[0].1)
                            .wrapping_add(w9)
                            .wrapping_add($turned(w14, small[1].0) ^ w14 >> small[1].1);
                    }
                    let [a, b, c, _, e, f, g, h] = v;
                    let first = h
                        .wrapping_add($turned(e, big[1]))
                        .wrapping_add(g ^ e & (f ^ g))
                        .wrapping_add($constant(*round))
                        .wrapping_add(self.block[at % 16]);
                    let second = $turned(a, big[0]).wrapping_add(a & b | c & (a | b));
                    v.copy_within(0..7, 1);
                    v[0] = first.wrapping_add(second);
                    v[4] = v[4].wrapping_add(first);
                }
                for (word, more) in self.state.iter_mut().zip(&v) {
                    *word = word.wrapping_add(*more);
                }
            }
        }
    };
}

hash!(
    /// SHA-256 of bytes that come in pieces.
    Sha256, u32, 4, 64, high_half, turned_32,
    [[2, 13, 22], [6, 11, 25]], [([7, 18, 0], 3), ([17, 19, 0], 10)]
);
hash!(
    /// SHA-512 of bytes that come in pieces.
    Sha512, u64, 8, 80, core::convert::identity, turned_64,
    [[28, 34, 39], [14, 18, 41]], [([1, 8, 0], 7), ([19, 61, 0], 6)]
);

const fn high_half(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The exclusive or of a word turned right by so many bits each; 0 is none.
fn turned_32(word: u32, by: [u8; 3]) -> u32 {
    let [one, two, three] = by.map(u32::from);
    let third = if three == 0 {
        0
    } else {
        word.rotate_right(three)
    };
    word.rotate_right(one) ^ word.rotate_right(two) ^ third
}

/// As with 32 bits. A processor without words of 64 takes much code for one turn, so there is one place for all.
fn turned_64(word: u64, by: [u8; 3]) -> u64 {
    turned_64_by(word, u32::from_le_bytes([by[0], by[1], by[2], 0]))
}

#[inline(never)]
fn turned_64_by(word: u64, mut by: u32) -> u64 {
    let mut turned = 0;
    while by != 0 {
        turned ^= word.rotate_right(by & 0xff);
        by >>= 8;
    }
    turned
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{Sha256, Sha512};
    use sha2::Digest as _;
    use std::vec::Vec;

    #[test]
    fn both_agree_with_sha2_for_every_length_up_to_three_blocks() {
        let message: Vec<u8> = (0..=u8::MAX).cycle().take(3 * 128).collect();
        for len in 0..=message.len() {
            let (first, rest) = message[..len].split_at(len / 3);
            let (mut short, mut long) = (Sha256::new(), Sha512::new());
            for piece in [first, rest] {
                short.update(piece);
                long.update(piece);
            }
            let expected: [u8; 32] = sha2::Sha256::digest(&message[..len]).into();
            assert_eq!(short.finish(), expected, "{len}");
            let expected: [u8; 64] = sha2::Sha512::digest(&message[..len]).into();
            assert_eq!(long.finish(), expected, "{len}");
        }
    }
}
