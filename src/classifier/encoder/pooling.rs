//! Pooling: one vector from many token states.
//!
//! States are normalised to length one first, so that no token dominates, and the mean leaves out the first token,
//! whose state is an outlier in every Llama (an attention sink).

/// Which states are pooled, and how.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pooling {
    /// Layers that are read, ascending; 0 = the embeddings, 1 = after the first layer.
    pub layers: Vec<usize>,
    /// The mean over all tokens but the first.
    pub mean: bool,
    /// The last token's state.
    pub last: bool,
}

impl Pooling {
    /// The mean over one layer.
    pub fn mean_of(layer: usize) -> Self {
        Self { layers: vec![layer], mean: true, last: false }
    }

    /// Length of the pooled vector.
    pub fn width(&self, hidden: usize) -> usize {
        self.layers.len() * hidden * (usize::from(self.mean) + usize::from(self.last))
    }
}

/// Appends the pooled states of one prompt in one layer.
pub(super) fn pool(states: &[f32], hidden: usize, pooling: &Pooling, pooled: &mut Vec<f32>) {
    let tokens = states.len() / hidden;
    let unit = |state: &[f32]| {
        let square: f32 = state.iter().map(|value| value * value).sum();
        1.0 / square.sqrt().max(f32::MIN_POSITIVE)
    };
    if pooling.mean {
        let first = usize::from(tokens > 1);
        let mut mean = vec![0.0_f32; hidden];
        for state in states[first * hidden..].chunks_exact(hidden) {
            let scale = unit(state) / (tokens - first) as f32;
            mean.iter_mut().zip(state).for_each(|(mean, value)| *mean += scale * value);
        }
        pooled.extend(mean);
    }
    if pooling.last {
        let state = &states[(tokens - 1) * hidden..];
        let scale = unit(state);
        pooled.extend(state.iter().map(|value| scale * value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_leaves_out_the_first_and_every_token_counts_alike() {
        let states = [900.0, 900.0, 0.0, 5.0, 3.0, 0.0];
        let mut pooled = Vec::new();
        pool(&states, 2, &Pooling { layers: vec![1], mean: true, last: true }, &mut pooled);
        assert_eq!(pooled, [0.5, 0.5, 1.0, 0.0]);
    }

    #[test]
    fn one_token_is_its_own_mean_and_nothing_is_no_division_by_zero() {
        let mut pooled = Vec::new();
        pool(&[3.0, 4.0], 2, &Pooling::mean_of(1), &mut pooled);
        pool(&[0.0, 0.0], 2, &Pooling::mean_of(1), &mut pooled);
        assert_eq!(pooled, [0.6, 0.8, 0.0, 0.0]);
    }
}
