use std::io::Write;

use super::*;

/// A stream with records `(offset, page)`, where a one-byte page stands for a page filled with that byte.
fn stream(block: &[u8], records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = b"QEVM".to_vec();
    out.extend(3_u32.to_be_bytes());
    out.push(CONFIGURATION);
    out.extend(3_u32.to_be_bytes());
    out.extend(b"q35");
    out.push(SECTION_START);
    out.extend(2_u32.to_be_bytes());
    out.extend([3]);
    out.extend(b"ram");
    out.extend(0_u32.to_be_bytes());
    out.extend(4_u32.to_be_bytes());
    out.extend(((8 * PAGE as u64) | MEM_SIZE).to_be_bytes());
    out.push(block.len() as u8);
    out.extend(block);
    out.extend((8 * PAGE as u64).to_be_bytes());
    out.extend(EOS.to_be_bytes());
    out.push(FOOTER);
    out.extend(2_u32.to_be_bytes());
    out.push(SECTION_END);
    out.extend(2_u32.to_be_bytes());
    for (index, (page, content)) in records.iter().enumerate() {
        let kind = if content.len() == 1 { ZERO } else { NORMAL };
        let again = if index > 0 { CONTINUE } else { 0 };
        out.extend(((page * PAGE as u64) | kind | again).to_be_bytes());
        if index == 0 {
            out.push(block.len() as u8);
            out.extend(block);
        }
        out.extend(*content);
    }
    out.extend(EOS.to_be_bytes());
    out.push(FOOTER);
    out.extend(2_u32.to_be_bytes());
    out.extend(b"\x04devices");
    out
}

fn copied(input: &[u8], template: Option<&Path>) -> (Vec<u8>, Written) {
    let mut out = Vec::new();
    let written = copy(input, &mut out, template).unwrap();
    assert_eq!(written.bytes, out.len() as u64);
    (out, written)
}

#[test]
fn pages_of_the_template_are_left_out_until_they_change() {
    let mut template = tempfile::NamedTempFile::new().unwrap();
    let (a, b) = ([1; PAGE], [2; PAGE]);
    template.write_all(&a).unwrap();
    template.write_all(&[0; PAGE]).unwrap();
    template.write_all(&a).unwrap();
    template.write_all(&[0; 5 * PAGE]).unwrap();
    // 0 equals the template's page; 1 is zero in both; 2 changes, and changes back; 3 was zero.
    let input = stream(b"ram", &[(0, &a), (1, &[0]), (2, &b), (2, &a), (3, &b)]);
    let (out, written) = copied(&input, Some(template.path()));
    assert_eq!(written.omitted, 2);
    assert_eq!(out, stream(b"ram", &[(2, &b), (2, &a), (3, &b)]));
}

#[test]
fn without_a_template_zeroes_are_left_out() {
    let a = [1; PAGE];
    let (out, written) = copied(&stream(b"pc.ram", &[(0, &a), (1, &[0]), (2, &a)]), None);
    assert_eq!((out, written.omitted), (stream(b"pc.ram", &[(0, &a), (2, &a)]), 1));
}

#[test]
fn other_blocks_and_unknown_parts_stay_as_they_are() {
    let input = stream(b"vga", &[(0, &[0]), (1, &[0])]);
    assert_eq!(copied(&input, None).0, input);
    let mut odd = stream(b"pc.ram", &[(0, &[0])]);
    let record = odd.len() - b"\x04devices".len() - 5 - 8 - 1 - 7 - 8;
    odd[record + 7] = 0x40;
    assert_eq!(copied(&odd, None).0, odd, "a record of an unknown kind");
    assert_eq!(copied(b"QEVM\0\0\0\x04anything", None).0, b"QEVM\0\0\0\x04anything");
    assert!(copy(&input[..30], Vec::new(), None).is_err(), "a stream that was cut off");
}

/// The stream with these bytes before its last section.
fn before_the_end(stream: &[u8], inserted: &[u8]) -> Vec<u8> {
    let end = stream.windows(5).position(|bytes| bytes == [SECTION_END, 0, 0, 0, 2]).unwrap();
    [&stream[..end], inserted, &stream[end..]].concat()
}

#[test]
fn commands_between_sections_are_forwarded() {
    let a = [1; PAGE];
    let command = [COMMAND, 0, 10, 0, 3, 1, 2, 3];
    let input = before_the_end(&stream(b"ram", &[(0, &a), (1, &[0]), (2, &a)]), &command);
    let (out, written) = copied(&input, None);
    assert_eq!((out, written.omitted), (before_the_end(&stream(b"ram", &[(0, &a), (2, &a)]), &command), 1));
    let input = before_the_end(&stream(b"pc.ram", &[(0, &[0]), (1, &[0]), (2, &a)]), &command);
    let (out, written) = copied(&input, None);
    assert_eq!((out, written.omitted), (before_the_end(&stream(b"pc.ram", &[(2, &a)]), &command), 2));
    let mut memory = vec![7; 3 * PAGE];
    load(&input[..], &mut memory).unwrap();
    assert!(memory == [[0; PAGE], [0; PAGE], a].concat(), "what comes after the command counts");
}

#[test]
fn what_may_refer_to_an_omitted_record_is_refused() {
    let a = [1; PAGE];
    let odd = |records: &[(u64, &[u8])]| {
        let mut odd = stream(b"pc.ram", records);
        let last = odd.len() - b"\x04devices".len() - 5 - 8 - 8 - PAGE;
        odd[last + 6] |= 0x02;
        odd
    };
    let why = copy(&odd(&[(0, &[0]), (1, &a)])[..], Vec::new(), None).unwrap_err();
    assert!(why.to_string().contains("does not know"), "{why}");
    let known = odd(&[(0, &a), (1, &a)]);
    assert_eq!(copied(&known, None).0, known, "it refers to a record that is there");
    assert!(load(&known[..], &mut vec![0; 2 * PAGE]).is_err(), "pages that are not understood cannot be compared");
}

/// Returns bytes in portions of odd sizes, as a pipe may.
struct Portions<'a>(&'a [u8]);

impl Read for Portions<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(to.len()).min(70_001);
        to[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

#[test]
fn more_records_than_the_buffer_holds() {
    let pages: Vec<[u8; PAGE]> = (0..1000_u32).map(|number| if number % 3 == 0 { [0; PAGE] } else { [number as u8 | 1; PAGE] }).collect();
    let all: Vec<(u64, &[u8])> = pages.iter().enumerate().map(|(number, page)| (number as u64, &page[..])).collect();
    let kept: Vec<(u64, &[u8])> = all.iter().copied().filter(|(number, _)| number % 3 != 0).collect();
    let mut out = Vec::new();
    let written = copy(Portions(&stream(b"pc.ram", &all)), &mut out, None).unwrap();
    assert_eq!(written, Written { bytes: out.len() as u64, omitted: 334 });
    assert!(out == stream(b"pc.ram", &kept), "a record was damaged");

    // Loading it restores the memory.
    let mut memory = vec![0; 1000 * PAGE];
    load(&out[..], &mut memory).unwrap();
    assert!(memory == pages.concat());
    let mut beyond = vec![0; 998 * PAGE];
    assert!(load(&out[..], &mut beyond).is_err());
}
