//! Page-aligned memory for direct I/O without `unsafe`: a boxed slice of a page type whose
//! alignment the compiler keeps.

use std::{fmt, ops};

use super::PAGE;

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

const _: () = assert!(align_of::<Page>() == PAGE && size_of::<Page>() == PAGE);

/// Aligned bytes, a whole number of pages.
pub struct AlignedBuf {
    pages: Box<[Page]>,
}

impl AlignedBuf {
    /// Zeros.
    ///
    /// # Panics
    /// When `len` is not a multiple of [`PAGE`], or on no memory, as all allocations do.
    #[must_use]
    pub fn zeroed(len: usize) -> AlignedBuf {
        assert_eq!(len % PAGE, 0, "{len} bytes are not whole pages of {PAGE}");
        AlignedBuf {
            pages: bytemuck::allocation::zeroed_slice_box(len / PAGE),
        }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.pages)
    }
}

impl AsMut<[u8]> for AlignedBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.pages)
    }
}

impl ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len())
    }
}
