"""What objectives are made of: reductions of log-weights, and gradients of them."""
