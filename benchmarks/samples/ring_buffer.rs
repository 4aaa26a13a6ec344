//! A queue of fixed size that forgets its oldest element when it is full.

use std::fmt;
use std::ops::Index;

/// Why a buffer could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BufferError {
    /// A buffer for no elements at all was asked for.
    NoCapacity,
    /// There is no element at this index.
    OutOfRange { index: usize, len: usize },
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BufferError::NoCapacity => write!(f, "a buffer needs room for at least one element"),
            BufferError::OutOfRange { index, len } => {
                write!(f, "index {index} is out of range for a buffer of {len}")
            }
        }
    }
}

impl std::error::Error for BufferError {}

const HELP: &str = r#"
commands:
    push VALUE    put a value in
    pop           take the oldest value out
    show          print all values as "a, b, c"
"#;

/*
 * The elements lie in `slots`. The oldest is at `head`, and the others follow
 * it, around the end if need be.
 */
#[derive(Debug, Clone)]
pub struct RingBuffer<T> {
    slots: Vec<Option<T>>,
    head: usize,
    len: usize,
}

impl<T> RingBuffer<T> {
    /// Makes an empty buffer.
    ///
    /// # Errors
    ///
    /// `NoCapacity` when `capacity` is zero.
    pub fn with_capacity(capacity: usize) -> Result<Self, BufferError> {
        if capacity == 0 {
            return Err(BufferError::NoCapacity);
        }
        let slots = (0..capacity).map(|_| None).collect();
        Ok(Self {
            slots,
            head: 0,
            len: 0,
        })
    }

    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub fn is_full(&self) -> bool {
        self.len == self.capacity()
    }

    /// Puts a value in, and returns the one that had to go.
    pub fn push(&mut self, value: T) -> Option<T> {
        let at = (self.head + self.len) % self.capacity();
        let gone = self.slots[at].replace(value);
        if gone.is_some() {
            self.head = (self.head + 1) % self.capacity();
        } else {
            self.len += 1;
        }
        gone
    }

    /// Takes the oldest value out.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.slots[self.head].take()?;
        self.head = (self.head + 1) % self.capacity();
        self.len -= 1;
        Some(value)
    }

    pub fn get(&self, index: usize) -> Result<&T, BufferError> {
        let error = BufferError::OutOfRange { index, len: self.len };
        if index >= self.len {
            return Err(error);
        }
        self.slots[(self.head + index) % self.capacity()].as_ref().ok_or(error)
    }
}

impl<T> Index<usize> for RingBuffer<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        self.get(index).expect("the caller checked the index")
    }
}

/// Runs one command, and returns what to print.
pub fn run(buffer: &mut RingBuffer<String>, command: &str) -> String {
    match command.split_once(' ') {
        Some(("push", value)) => buffer.push(value.to_string()).unwrap_or_default(),
        None if command == "pop" => buffer.pop().unwrap_or_default(),
        None if command == "show" => (0..buffer.len).map(|i| buffer[i].clone()).collect::<Vec<_>>().join(", "),
        _ => HELP.trim().to_string(),
    }
}
