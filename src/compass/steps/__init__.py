"""What the flows share: the state that passes between steps, and the steps themselves."""
