-- migrate:up transaction:false
create index concurrently notifications_to_mail_idx on public.notifications (kind, created_at) where mailed_at is null;
-- migrate:down
