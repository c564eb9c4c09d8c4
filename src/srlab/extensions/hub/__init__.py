"""The Hugging Face Hub: networks from repositories, and to them with a model card."""
