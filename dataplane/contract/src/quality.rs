//! R factor and MOS out of a measurement, by the E-model (ITU-T G.107).

/// Codecs whose impairment factors are published (ITU-T G.113 Appendix I).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// No figure is known: no MOS.
    #[default]
    Unknown,
    /// G.711 μ-law or A-law.
    G711,
}
