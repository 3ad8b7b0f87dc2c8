"""Documents: extract, split, embed, index, search, cite. Not built yet; the label is reserved for its migrations."""
