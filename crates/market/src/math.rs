//! Integer arithmetic as the contracts do it.

mod full;
pub mod sqrt_price;
pub mod swap;
pub mod tick;

pub use full::{div_up, mul_div, mul_div_up, mul_shr_96, mul_shr_96_up};
