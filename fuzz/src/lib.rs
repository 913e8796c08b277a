//! What the fuzz targets share: reading a recipe from the input, a store that tires, and a sealed root.

mod limited_store;
mod loaded_dice;
mod recipe;
mod sealed_root;

pub use limited_store::LimitedStore;
pub use loaded_dice::LoadedDice;
pub use recipe::Recipe;
pub use sealed_root::{KEY, encipher_root};
