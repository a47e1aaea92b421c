-- migrate:up transaction:false
-- The invitations that an address got, from whatever company.
create index concurrently mails_invitations_idx on public.mails (to_address, created_at)
where template in ('team.invitation', 'team.reminder');
-- migrate:down
