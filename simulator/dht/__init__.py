"""The Discovery port in virtual time: a Kademlia-shaped DHT, and hosts of it that lie."""
