-- Bids on auctions whose number 123 divides.
SELECT auction, price FROM bid WHERE auction % 123 = 0
