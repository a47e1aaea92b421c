-- migrate:up
-- The companies' numbers that the first file allowed in unchecked.
alter table public.companies validate constraint companies_visitor_conversations_check;
-- migrate:down
