//! Every port made of memory, for tests. Nothing here can be chosen by configuration, and each part calls itself `fake`.
