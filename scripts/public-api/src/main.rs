//! Prints the public items of a crate, one a line, from the JSON that rustdoc writes of it.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(json) = env::args_os().nth(1) else {
        return Err("usage: public-api-listing RUSTDOC_JSON".into());
    };
    let listing = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()?;
    print!("{listing}");
    Ok(())
}
