-- migrate:up transaction:false
-- The company's contacts, by when they were last there.
create index concurrently contacts_newest_idx on public.contacts (company_id, last_seen_at desc);
-- migrate:down
