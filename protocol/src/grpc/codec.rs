//! The codec of sessions: as tonic's own, with less room beside each.
//!
//! Used by: the stubs of the control plane. Invariant: what is written is what any other codec of
//! the protocol buffers reads.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// Room for one message of the usual size, in bytes. tonic sets 8 KiB aside for each direction of
/// each session, and an operator has thousands of sessions on which little is said.
const BUFFER: usize = 512;
/// So much is written before it is handed on: tonic's own choice.
const HANDED_ON: usize = 32 * 1024;

/// As [`ProstCodec`], with small buffers; they grow with what they hold.
#[derive(Debug)]
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER, HANDED_ON)
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}
