//! The head that the encoder is tuned with: the item-response trunk of [`super::super::head`], as tensors.

use candle_core::{Device, Tensor, Var};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Example, Plan};

/// Largest standardised input.
const CLIP: f64 = 4.0;

/// Demands and difficulty of a prompt, abilities and levels of the models.
pub(super) struct Judge {
    mean: Tensor,
    scale: Tensor,
    /// Input by hidden.
    first: Var,
    bias: Var,
    /// Hidden by latent and difficulty.
    second: Var,
    /// Input by latent and difficulty.
    past: Var,
    /// Latent by model.
    ability: Var,
    level: Var,
    dropout: f32,
    device: Device,
}

impl Judge {
    pub(super) fn new(
        width: usize,
        plan: &Plan,
        device: &Device,
        rng: &mut StdRng,
    ) -> Result<Self, candle_core::Error> {
        let (inputs, models) = (width + plan.statistics, plan.levels.len());
        let mut drawn = |rows: usize, columns: usize, spread: f32| {
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-1.0f32..1.0) * spread).collect();
            Var::from_vec(values, (rows, columns), device)
        };
        Ok(Self {
            mean: Tensor::zeros(width, candle_core::DType::F32, device)?,
            scale: Tensor::ones(width, candle_core::DType::F32, device)?,
            first: drawn(inputs, plan.hidden, 1.0 / (inputs as f32).sqrt())?,
            second: drawn(plan.hidden, plan.latent + 1, 1.0 / (plan.hidden.max(1) as f32).sqrt())?,
            past: drawn(inputs, plan.latent + 1, 0.3 / (inputs as f32).sqrt())?,
            ability: drawn(plan.latent, models, 0.2)?,
            bias: Var::zeros(plan.hidden, candle_core::DType::F32, device)?,
            level: Var::from_slice(&plan.levels, models, device)?,
            dropout: plan.dropout,
            device: device.clone(),
        })
    }

    /// All parameters that are learned.
    pub(super) fn variables(&self) -> Vec<Var> {
        [&self.first, &self.bias, &self.second, &self.past, &self.ability, &self.level].map(Var::clone).into()
    }

    pub(super) fn standardise(&mut self, mean: &[f32], scale: &[f32]) -> Result<(), candle_core::Error> {
        self.mean = Tensor::new(mean, &self.device)?;
        self.scale = Tensor::new(scale, &self.device)?;
        Ok(())
    }

    /// Weighted log-loss, summed over all outcomes of a lot, from its pooled states. With `rng`, there is dropout of
    /// inputs and hidden values.
    pub(super) fn loss(
        &self,
        pooled: &Tensor,
        lot: &[Example<'_>],
        mut rng: Option<&mut StdRng>,
    ) -> Result<Tensor, candle_core::Error> {
        let states = pooled.broadcast_sub(&self.mean)?.broadcast_mul(&self.scale)?.clamp(-CLIP, CLIP)?;
        let statistics: Vec<f32> = lot.iter().flat_map(|example| example.statistics).copied().collect();
        let columns = statistics.len() / lot.len().max(1);
        let statistics = Tensor::from_vec(statistics, (lot.len(), columns), &self.device)?;
        let x = Tensor::cat(&[&states, &statistics], 1)?;
        let x = self.thinned(&x, rng.as_deref_mut())?;
        let hidden = x.matmul(&self.first)?.broadcast_add(&self.bias)?.silu()?;
        let hidden = self.thinned(&hidden, rng)?;
        let latent = (hidden.matmul(&self.second)? + x.matmul(&self.past)?)?;
        // A CUDA product takes no rows that lie apart.
        let demands = latent.narrow(1, 0, latent.dim(1)? - 1)?.contiguous()?;
        let difficulty = latent.narrow(1, latent.dim(1)? - 1, 1)?;
        let odds = demands.matmul(&self.ability)?.broadcast_add(&difficulty)?.broadcast_add(&self.level)?;
        let models = self.level.elem_count();
        let (mut scores, mut weights) = (vec![0.0f32; lot.len() * models], vec![0.0f32; lot.len() * models]);
        for (row, example) in lot.iter().enumerate() {
            for (model, score) in example.outcomes {
                scores[row * models + model] = *score;
                weights[row * models + model] = example.weight;
            }
        }
        let table = |values: Vec<f32>| Tensor::from_vec(values, (lot.len(), models), &self.device);
        // ln(1 + e^x) - y x, in a form that does not overflow.
        let surprise = (odds.relu()? + ((odds.abs()?.neg()?.exp()? + 1.0)?.log()? - (&odds * table(scores)?)?)?)?;
        (surprise * table(weights)?)?.sum_all()
    }

    fn thinned(&self, x: &Tensor, rng: Option<&mut StdRng>) -> Result<Tensor, candle_core::Error> {
        let Some(rng) = rng.filter(|_| self.dropout > 0.0) else { return Ok(x.clone()) };
        let keep = 1.0 / (1.0 - self.dropout);
        let mask = (0..x.elem_count()).map(|_| if rng.random::<f32>() < self.dropout { 0.0 } else { keep });
        x * Tensor::from_iter(mask, &self.device)?.reshape(x.shape())?
    }
}
