-- migrate:up transaction:false
-- What is to become a mail is found without reading everything that was ever told.
create index concurrently notifications_to_mail_idx on public.notifications (kind, created_at) where mailed_at is null;
-- migrate:down
