from compass.data.example import Example, Message

__all__ = ["Example", "Message"]
