//! Wire formats to and from the neutral forms of `protocol`; pure.
