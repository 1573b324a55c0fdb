//! What a header block of HPACK (RFC 7541) says of its pseudo-fields, and nothing else.
//!
//! No value is decoded: a compressed string is measured, since the dynamic table drops entries by their length, and only
//! where that or a `#` matters. Of an entry the table keeps 12 bytes. Whatever is not valid here is not valid for h2 either,
//! which reads the same bytes and ends the connection.

use std::collections::VecDeque;

/// RFC 7541 section 4.1.
const OVERHEAD: usize = 32;
/// SETTINGS_HEADER_TABLE_SIZE as it is from the start; ours says nothing else (RFC 9113 section 6.5.2).
const TABLE: usize = 4096;

/// What a block has of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pseudo {
    /// Any at all.
    pub any: bool,
    /// A `#` in a `:path`.
    pub fragment: bool,
}

/// The block is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The table of one connection's client.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    /// Of name and value.
    length: u32,
    fragment: bool,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    length: u32,
    pseudo: bool,
    /// It may be `:path`: of a name that is spelled out only the colon is looked at.
    path: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: TABLE }
    }
}

impl Table {
    /// Reads one block to its end.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Pseudo, Invalid> {
        let mut rest = Rest(block);
        let mut said = Pseudo::default();
        while let Some(first) = rest.0.first().copied() {
            // RFC 7541 section 6.
            let entry = match first {
                0x80.. => self.entry(rest.number(7)?)?,
                0x40.. => {
                    let entry = self.literal(&mut rest, 6, true)?;
                    self.insert(entry);
                    entry
                }
                0x20.. => {
                    let limit = rest.number(5)?;
                    if limit > TABLE {
                        return Err(Invalid);
                    }
                    self.limit = limit;
                    self.evict(limit);
                    continue;
                }
                _ => self.literal(&mut rest, 4, false)?,
            };
            said.any |= entry.name.pseudo;
            said.fragment |= entry.fragment;
        }
        Ok(said)
    }

    /// `measured`: it goes into the table.
    fn literal(&self, rest: &mut Rest<'_>, prefix: u32, measured: bool) -> Result<Entry, Invalid> {
        let name = match rest.number(prefix)? {
            0 => {
                let name = rest.string()?;
                let pseudo = name.begins_with_colon();
                Name { length: if measured { name.measure().length } else { 0 }, pseudo, path: pseudo }
            }
            index => self.entry(index)?.name,
        };
        let value = rest.string()?;
        if !measured && !name.path {
            return Ok(Entry { name, length: 0, fragment: false });
        }
        let value = value.measure();
        Ok(Entry { name, length: name.length + value.length, fragment: name.path && value.number_sign })
    }

    fn entry(&self, index: usize) -> Result<Entry, Invalid> {
        let index = index.checked_sub(1).ok_or(Invalid)?;
        match STATIC.get(index) {
            Some(name) => {
                let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
                let name = Name { length, pseudo: name.starts_with(':'), path: *name == ":path" };
                Ok(Entry { name, length: 0, fragment: false })
            }
            None => self.entries.get(index - STATIC.len()).copied().ok_or(Invalid),
        }
    }

    /// RFC 7541 section 4.4.
    fn insert(&mut self, entry: Entry) {
        let size = entry.length as usize + OVERHEAD;
        self.evict(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    /// Down to this size.
    fn evict(&mut self, limit: usize) {
        while self.size > limit
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.length as usize + OVERHEAD;
        }
    }
}

/// What is left of a block.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Result<u8, Invalid> {
        let (first, rest) = self.0.split_first().ok_or(Invalid)?;
        self.0 = rest;
        Ok(*first)
    }

    /// RFC 7541 section 5.1, of at most four more octets, as h2 has it.
    fn number(&mut self, prefix: u32) -> Result<usize, Invalid> {
        let mask = (1usize << prefix) - 1;
        let mut number = usize::from(self.byte()?) & mask;
        if number < mask {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            number += (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Invalid)
    }

    /// RFC 7541 section 5.2.
    fn string(&mut self) -> Result<Text<'a>, Invalid> {
        let compressed = self.0.first().is_some_and(|first| *first >= 0x80);
        let length = self.number(7)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Invalid)?;
        self.0 = rest;
        Ok(Text { bytes, compressed })
    }
}

/// A string as it came.
struct Text<'a> {
    bytes: &'a [u8],
    compressed: bool,
}

struct Measure {
    length: u32,
    number_sign: bool,
}

impl Text<'_> {
    fn begins_with_colon(&self) -> bool {
        match self.bytes.first() {
            Some(first) if self.compressed => first >> 1 == 0x5c,
            first => first == Some(&b':'),
        }
    }

    fn measure(&self) -> Measure {
        if self.compressed {
            return expand(self.bytes);
        }
        Measure { length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX), number_sign: self.bytes.contains(&b'#') }
    }
}

/// The octets that a compressed string stands for. Codes are given out by length, so how long the next one is shows in how
/// large the next bits are.
fn expand(bytes: &[u8]) -> Measure {
    let mut measure = Measure { length: 0, number_sign: false };
    let mut bytes = bytes.iter();
    // The next bits at the top, ones behind them.
    let (mut bits, mut count) = (u64::MAX, 0);
    loop {
        if count < 32 {
            for byte in bytes.by_ref().take(4) {
                bits ^= u64::from(!byte) << (56 - count);
                count += 8;
            }
        }
        let length = match SHORT[(bits >> 56) as usize] {
            0 => {
                let window = (bits >> 32) as u32;
                measure.number_sign |= window >> 20 == NUMBER_SIGN;
                CODES.iter().find(|(beyond, _)| window < *beyond).map_or(30, |(_, length)| *length)
            }
            short => u32::from(short),
        };
        if length > count {
            // Padding.
            return measure;
        }
        measure.length += 1;
        bits = bits << length | ((1 << length) - 1);
        count -= length;
    }
}

/// How long the code is with which these eight bits begin, if it is no longer than they are.
static SHORT: [u8; 256] = {
    let mut short = [0; 256];
    let mut code = 4;
    while code > 0 {
        code -= 1;
        let (beyond, length) = CODES[code];
        let mut first = 0;
        while first < beyond >> 24 {
            short[first as usize] = length as u8;
            first += 1;
        }
    }
    short
};

/// The code of `#`, of twelve bits.
const NUMBER_SIGN: u32 = 0xffa;

/// RFC 7541 appendix B: 32 bits below this begin with a code of this length; all above are of 30.
const CODES: [(u32, u32); 20] = [
    (0x0a << 27, 5),
    (0x2e << 26, 6),
    (0x7c << 25, 7),
    (0xfe << 24, 8),
    (0x3fd << 22, 10),
    (0x7fd << 21, 11),
    (0xffc << 20, 12),
    (0x1ffe << 19, 13),
    (0x3ffe << 18, 14),
    (0x7fff << 17, 15),
    (0x7fff3 << 13, 19),
    (0xfffee << 12, 20),
    (0x1fffe9 << 11, 21),
    (0x3fffec << 10, 22),
    (0x7ffff5 << 9, 23),
    (0xfffff6 << 8, 24),
    (0x1fffff0 << 7, 25),
    (0x3ffffef << 6, 26),
    (0x7fffff1 << 5, 27),
    (0xfffffff << 4, 28),
];

/// RFC 7541 appendix A, without the values.
static STATIC: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Hexadecimal digits, with spaces as the RFC has them.
    fn block(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn expanded(text: &str) -> (u32, bool) {
        let measure = expand(&block(text));
        (measure.length, measure.number_sign)
    }

    #[test]
    fn the_table_is_as_large_as_the_rfc_says() {
        // RFC 7541 appendix C.4: compressed requests.
        let mut table = Table::default();
        for (text, size) in [
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", 57),
            ("8286 84be 5886 a8eb 1064 9cbf", 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", 164),
        ] {
            assert_eq!(table.read(&block(text)), Ok(Pseudo { any: true, fragment: false }));
            assert_eq!(table.size, size);
        }
    }

    #[test]
    fn entries_that_no_longer_fit_are_gone() {
        // RFC 7541 appendix C.5: responses, to a table of 256 octets.
        let mut table = Table::default();
        assert_eq!(table.read(&block("3fe1 01")), Ok(Pseudo::default()));
        let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a \
                     3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
        for text in [first, "4803 3330 37c1 c0bf"] {
            assert_eq!(table.read(&block(text)), Ok(Pseudo { any: true, fragment: false }));
            assert_eq!((table.size, table.entries.len()), (222, 4));
        }

        assert_eq!(table.read(&[0xc2]), Err(Invalid));
        assert_eq!(table.read(&block("20")), Ok(Pseudo::default()));
        assert_eq!((table.size, table.entries.len()), (0, 0));
        assert_eq!(table.read(&[0xbe]), Err(Invalid));
    }

    #[test]
    fn compressed_strings_are_as_long_as_what_they_stand_for() {
        assert_eq!(expanded("f1e3 c2e5 f23a 6ba0 ab90 f4ff"), ("www.example.com".len() as u32, false));
        assert_eq!(expanded(""), (0, false));
        // `/#`, `#` alone, and codes of 30 bits.
        assert_eq!(expanded("63fe bf"), (2, true));
        assert_eq!(expanded("ffaf"), (1, true));
        assert_eq!(expanded("ffff fff3 ffff ffdf ffff ff7f"), (3, false));
    }

    #[test]
    fn what_is_cut_or_out_of_reach_is_not_valid() {
        for text in ["80", "be", "44", "4405 2f", "ff80 8080 8001", "3fe2 1f", "00", "0001"] {
            assert_eq!(Table::default().read(&block(text)), Err(Invalid), "{text}");
        }
        assert_eq!(Table::default().read(&block("3fe1 1f")), Ok(Pseudo::default()));
    }
}
