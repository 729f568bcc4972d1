"""khulasa.pipeline: documents, stages and the pipeline that streams them."""
