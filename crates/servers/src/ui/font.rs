//! Letters as strokes, for pictures of pixels: small, and good enough for names, figures and dates.
//!
//! A letter stands on a grid five wide; its top is 0, its ground line 6, and what hangs below goes to 8. Each word is a stroke, each pair of
//! digits a place of it: across, down. The letters are ours; what is not among them is drawn as a box.

/// How many steps of the grid are as high as a text's size.
pub(super) const STEPS: f32 = 8.4;

/// `!` to `~`, in the order of their codes.
const GLYPHS: [&str; 94] = [
    "2024 2626",                        // !
    "1012 3032",                        // "
    "1016 3036 0242 0444",              // #
    "413010010213334445361605 2026",    // $
    "4006 0010110100 3545463635",       // %
    "4612112031320405162644",           // &
    "2022",                             // '
    "30212536",                         // (
    "10212516",                         // )
    "2125 0244 4204",                   // *
    "2125 0343",                        // +
    "2618",                             // ,
    "1333",                             // -
    "2626",                             // .
    "4006",                             // /
    "103041453616050110 3214",          // 0
    "112026 1636",                      // 1
    "01103041420646",                   // 2
    "0110304142334445361605 3323",      // 3
    "36300444",                         // 4
    "400003334445361605",               // 5
    "4130100105163645443303",           // 6
    "004016",                           // 7
    "13020110304142331304051636454433", // 8
    "4313020110304145361605",           // 9
    "2323 2626",                        // :
    "2323 2618",                        // ;
    "411345",                           // <
    "0242 0444",                        // =
    "013305",                           // >
    "01103041422324 2626",              // ?
    "34141232344441301001051646",       // @
    "062046 1434",                      // A
    "06003041423303 3344453606",        // B
    "4130100105163645",                 // C
    "00063645413000",                   // D
    "40000646 0333",                    // E
    "400006 0333",                      // F
    "41301001051636454323",             // G
    "0006 4046 0343",                   // H
    "1030 2026 1636",                   // I
    "4045361605",                       // J
    "0006 400346",                      // K
    "000646",                           // L
    "0600234046",                       // M
    "06004640",                         // N
    "103041453616050110",               // O
    "06003041423303",                   // P
    "103041453616050110 2446",          // Q
    "06003041423303 2346",              // R
    "413010010213334445361605",         // S
    "0040 2026",                        // T
    "000516364540",                     // U
    "002640",                           // V
    "0016233640",                       // W
    "0046 4006",                        // X
    "002340 2326",                      // Y
    "00400646",                         // Z
    "30202636",                         // [
    "0046",                             // \
    "10202616",                         // ]
    "022042",                           // ^
    "0747",                             // _
    "1021",                             // `
    "12324346 441405163645",            // a
    "0006 0312324345361605",            // b
    "4332120305163645",                 // c
    "4046 4332120305163645",            // d
    "04444332120305163645",             // e
    "40302126 1333",                    // f
    "4247381807 4332120305163645",      // g
    "0006 0312324346",                  // h
    "2226 2020",                        // i
    "32372818 3030",                    // j
    "0006 420446",                      // k
    "202536",                           // l
    "0602 03122326 23324346",           // m
    "0602 0312324346",                  // n
    "123243453616050312",               // o
    "0208 0312324345361605",            // p
    "4248 4332120305163645",            // q
    "0602 04223243",                    // r
    "4212031434453606",                 // s
    "20253646 1242",                    // t
    "020516364542 4546",                // u
    "022642",                           // v
    "0216243642",                       // w
    "0246 4206",                        // x
    "0226 4218",                        // y
    "02420646",                         // z
    "30212213242536",                   // {
    "2027",                             // |
    "10212233242516",                   // }
    "04133443",                         // ~
];
/// What stands for every other letter.
const BOX: &str = "0040460600";

/// The strokes of a letter; none of a space.
pub(super) fn strokes(letter: char) -> &'static str {
    match letter {
        c if c.is_whitespace() => "",
        '…' => "0606 2626 4646",
        '–' | '—' | '−' => "0343",
        '·' => "2323",
        '×' => "0145 4105",
        'µ' | 'μ' => "0208 020516364542 4546",
        '€' => "4130100105163645 0232 0434",
        c => (c as u32).checked_sub(33).and_then(|at| GLYPHS.get(at as usize)).copied().unwrap_or(BOX),
    }
}

/// The places of a stroke, in steps of the grid.
pub(super) fn places(stroke: &str) -> impl Iterator<Item = (f32, f32)> {
    stroke.as_bytes().chunks_exact(2).map(|pair| (f32::from(pair[0] - b'0'), f32::from(pair[1] - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_its_own_and_on_the_grid() {
        let all: std::collections::BTreeSet<&str> = GLYPHS.iter().copied().collect();
        assert_eq!(all.len(), GLYPHS.len());
        for glyph in GLYPHS.iter().chain([&BOX]) {
            for stroke in glyph.split(' ') {
                assert!(stroke.len() >= 4 && stroke.len() % 2 == 0, "{glyph}");
                assert!(places(stroke).all(|(x, y)| x <= 4.0 && y <= 8.0), "{glyph}");
            }
        }
        assert_eq!((strokes('A'), strokes('~'), strokes('é'), strokes(' ')), (GLYPHS[32], GLYPHS[93], BOX, ""));
    }
}
