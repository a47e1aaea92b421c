-- Seed: the plans. -1 is unlimited; a price of null is agreed with each customer.
-- The migrating login writes the seed rows, because FORCE row level security hides all rows from
-- the tables' owner.

reset role;

insert into public.plans (
  plan, rank, monthly_message_limit, max_chatbots, max_users, max_integrations,
  max_document_characters, max_storage_mb, max_hitl_concurrent, monthly_price_usd, channels,
  requests_per_minute, visitor_conversations_per_hour
)
values
  ('free', 1, 500, 1, 2, 0, 0, 0, 0, 0.00, '{whatsapp,web}', 120, 60),
  ('starter', 2, 3000, 2, 3, 1, 50000, 5, 1, 39.00, '{whatsapp,telegram,web}', 300, 300),
  ('professional', 3, 8000, 3, 8, 3, 250000, 20, 3, 89.00, '{whatsapp,telegram,slack,web}', 600, 800),
  ('business', 4, 20000, 6, 15, 6, 750000, 50, 6, null, '{whatsapp,telegram,slack,web}', 1200, 2000),
  ('enterprise', 5, -1, -1, -1, -1, -1, -1, 25, null, '{whatsapp,telegram,slack,web}', 3000, 10000);
