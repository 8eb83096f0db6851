"""What an answer is worth: judges read stored answers, without the model that gave them."""
