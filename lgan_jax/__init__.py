"""L-GAN: amplify a data set by sampling a latent space (the second experiment)."""
