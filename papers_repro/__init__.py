"""One script a table or figure of the papers: published rows beside ours."""
