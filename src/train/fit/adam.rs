//! Adam with decoupled weight decay, and the schedule of the learning rate.

/// Decay of the gradient's running mean and of its square's (Kingma and Ba, ICLR 2015).
const MOMENTUM: (f32, f32) = (0.9, 0.999);

/// AdamW over one block of numbers (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019).
#[derive(Debug, Clone)]
pub(super) struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    decay: f32,
    steps: i32,
}

impl Adam {
    pub(super) fn new(size: usize, decay: f32) -> Self {
        Self { mean: vec![0.0; size], square: vec![0.0; size], decay, steps: 0 }
    }

    /// One step against `gradient`, which is reset to zero.
    pub(super) fn step(&mut self, values: &mut [f32], gradient: &mut [f32], rate: f32) {
        self.steps += 1;
        let (first, second) = MOMENTUM;
        let (first_bias, second_bias) = (1.0 - first.powi(self.steps), 1.0 - second.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradient.iter_mut()).zip(moments) {
            *mean = first * *mean + (1.0 - first) * *gradient;
            *square = second * *square + (1.0 - second) * *gradient * *gradient;
            let step = *mean / first_bias / ((*square / second_bias).sqrt() + 1e-8);
            *value -= rate * (step + self.decay * *value);
            *gradient = 0.0;
        }
    }
}

/// Learning rate after a share of all steps: linear warm-up over the first tenth, then a cosine down to zero (Smith and
/// Topin, "Super-convergence", 2018).
pub(in crate::train) fn rate_at(peak: f32, share: f32) -> f32 {
    const WARM_UP: f32 = 0.1;
    if share < WARM_UP {
        peak * (0.05 + 0.95 * share / WARM_UP)
    } else {
        peak * 0.5 * (1.0 + (std::f32::consts::PI * (share - WARM_UP) / (1.0 - WARM_UP)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_bottom_of_a_bowl() {
        let mut at = [3.0f32, -2.0];
        let mut adam = Adam::new(2, 0.0);
        for step in 0..600 {
            let mut gradient = [2.0 * (at[0] - 1.0), 20.0 * (at[1] - 0.5)];
            adam.step(&mut at, &mut gradient, rate_at(0.1, step as f32 / 600.0));
            assert_eq!(gradient, [0.0, 0.0]);
        }
        assert!((at[0] - 1.0).abs() < 0.01 && (at[1] - 0.5).abs() < 0.01, "{at:?}");
    }

    #[test]
    fn decay_draws_to_zero_what_no_gradient_holds() {
        let mut at = [1.0f32];
        let mut adam = Adam::new(1, 0.1);
        (0..100).for_each(|_| adam.step(&mut at, &mut [0.0], 0.1));
        assert!(at[0] < 0.4, "{at:?}");
    }
}
