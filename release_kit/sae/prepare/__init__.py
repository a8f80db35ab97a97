"""What a study starts from: bilingual pairs, a tokenizer, small language models with checkpoints."""
