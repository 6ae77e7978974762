"""What is read from and written to disk: images, models, profiles, projects, embeddings, logs."""
